import java.nio.file.Files
import java.nio.file.Path

/** plan.json, and what the tasks need of it. */
class Plan {
    /** By run id. Here and not in a task's input: it is no part of what decides whether a run is current. */
    static private final Map<String, String> LABELS = [:].asSynchronized()

    /** The plan, its runs numbered with how often they were retried on demand. */
    static Map read(Path json, Path projectDir, Map params) {
        def plan = Json.parse(json.text)
        plan.notes.each { note -> println("Note: ${note}") }
        def wrong = plan.datasets.collect { row -> problem(row, params.sheet) }.findAll { why -> why }
        if (wrong) { nextflow.Nextflow.error("${params.sheet}: these files cannot be used:\n  ${wrong.join('\n  ')}") }
        def retries = Retries.read(projectDir, params)
        def wanted = plan.runs.findAll { run -> !run.not_applicable }.countBy { run -> run.key }
        plan.runs.each { run ->
            run.metrics = plan.metrics[run.task]
            run.group = run.together ? run.key : run.id
            run.group_size = run.together ? wanted[run.key] ?: 0 : 1
            LABELS[run.id] = "${run.name} #${run.index}".toString()
            if (retries[run.id]) { run.retry = retries[run.id] }
        }
        return plan
    }

    /** What the console calls a run: its condition's name would tell the model what it is given. */
    static String label(String id) { LABELS[id] }

    /**
     * What decides whether a run is current. Its index is none of it: a new model changes the indices of others.
     */
    static Map task(Map run) {
        run.subMap(['id', 'params', 'entry', 'resources', 'prediction', 'retry'].findAll { key -> run.containsKey(key) }) +
            (run.checkpoint ? [checkpoint: run.checkpoint.files] : [:])
    }

    /** The files of a run's checkpoint, none for most. */
    static List<Path> checkpoint(Map run) {
        (run.checkpoint?.files ?: [:]).keySet().sort().collect { name -> nextflow.Nextflow.file("${run.checkpoint.folder}/${name}") }
    }

    /** Who a run is, as its record says. */
    static Map identity(Map run) {
        run.subMap(['id', 'task', 'dataset', 'condition', 'seed', 'model', 'variant', 'name', 'control', 'tier', 'image', 'params'])
    }

    /**
     * What one evaluation gets: runs of a condition, each with the numbers of its files among all of them; metrics, the truth,
     * the files, and the software of the task's stage. The runs are in the order of their ids, whichever ended first.
     */
    static List evaluation(List<Map> runs, List truths, List files, Map stages) {
        def order = (0..<runs.size()).toList().sort { i -> runs[i].id }
        def all = order.collect { i -> [files[i]].flatten().sort { file -> file.name } }
        def first = 1
        def entries = order.withIndex().collect { i, place ->
            def numbers = (first..<(first + all[place].size())).toList()
            first += all[place].size()
            [run: identity(runs[i]), files: numbers]
        }
        return [entries, runs[0].metrics, truths[0], all.flatten(), Software.stage(stages, 'evaluate', runs[0].task)]
    }

    /** The run that a folder of a record belongs to. */
    static String id(Path folder) { folder.subpath(folder.nameCount - 3, folder.nameCount).toString() }

    /** What keeps the file of a dataset from being used, or null. */
    static private String problem(Map row, Object sheet) {
        if (!row.source) { return null }
        def file = source(row, sheet)
        // Of a question mark, as URLs have it, a shell makes another file in the same folder; a download is alone in its own.
        def why = Paths.unfit(row.source.contains('://') ? file.toString().replace('?', '') : file.toString()) ?: (Files.exists(file) ? null : 'there is no such file')
        return why ? "dataset '${row.dataset}': ${row.source} (${file}): ${why}" : null
    }

    /** The file of a dataset. Paths in a dataset sheet are relative to the sheet, and ~ is the home folder. */
    static Path source(Map row, Object sheet) {
        def path = row.source.toString().replaceFirst('^~/', java.util.regex.Matcher.quoteReplacement(System.getenv('HOME') + '/'))
        if (!sheet || path.startsWith('/') || path.contains('://')) { return nextflow.Nextflow.file(path, glob: false) }
        return nextflow.Nextflow.file(sheet).parent.resolve(path)
    }
}
