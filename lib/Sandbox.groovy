/** The shell lines around a task: what must hold on the machine before and after a container runs there. */
class Sandbox {
    /** Where root starts the pipeline, a model runs as this user all the same: see conf/docker.config. */
    static private final int NOBODY = 10001

    /**
     * A container can leave links where the pipeline will read or write as the user who started it: prediction.h5ad to
     * somebody else's truth, .exitcode to any file of that user's. And files that nobody else can read.
     */
    static final String CLOSE = 'find . -type l -delete; chmod -R a+rX . || true'

    /**
     * Nextflow mounts a project's bin/ folder in every container, and does so by mounting the deepest folder that holds
     * both bin/ and the task: the whole clone, with data/ and the work of all other tasks.
     */
    static void hideBin() {
        nextflow.Global.session.@binDir = null
        nextflow.Global.session.@binEntries = [:]
    }

    /**
     * A pipeline that was killed leaves tasks running, and folders of tasks half done, which -resume uses again as they are.
     * Wait for what still runs there, then begin with an empty folder.
     */
    static private final List<String> FRESH = [
        "if command -v flock > /dev/null; then exec 9> .lock; flock -w 3600 9 || true; fi",
        "find . -mindepth 1 -maxdepth 1 ! -name '.command.*' ! -name .lock -exec rm -rf {} +",
    ]

    /** What runs before a task, outside its container: none of it is part of the task's hash. */
    static String open(Object task, Map software) {
        def limits = [attempt: task.attempt, max_attempts: task.ext.attempts, cpus: task.cpus, memory_bytes: task.memory?.toBytes()]
        def lines = FRESH + ["echo '${Json.text(limits)}' > .limits.json"]
        if (software.env) {
            def gpu = task.accelerator ? '' : ' CUDA_VISIBLE_DEVICES='
            lines << "export PATH='${software.env}/bin':\"\$PATH\" LACUNA_MODEL_DIR='${software.env}/model'${gpu}"
        } else if (task.process.startsWith('RUN_MODEL')) {
            lines << "if [ \"\$(id -u)\" = 0 ]; then chown ${NOBODY}:${NOBODY} .; fi"
        }
        return lines.join('\n')
    }

    /**
     * A staged file's name as one word of a shell line, whatever is in it. As text, Nextflow escapes some characters of a
     * path (a blank, but not a semicolon), so that it can stand neither between quotes nor without.
     */
    static String word(Object path) { "'" + path.name.replace("'", "'\\''") + "'" }

    /** A command whose exit code 1 means that it refused its input: the reason becomes a file, not a failed task. */
    static String refusable(String command) {
        "${command} 2> refused.txt && rm refused.txt || { code=\$?; cat refused.txt >&2; [ \$code = 1 ] && ! grep -q ^Traceback refused.txt; }"
    }

    /** What a refusal says. */
    static String reason(Object file) { file.text.trim() - ~'^(error|not applicable): ' }

    /** The same for the report: whether something was wrong, or only could not be had of a dataset. */
    static Map refusal(Object file) {
        [reason: reason(file), not_applicable: file.text.startsWith('not applicable: ')]
    }
}
