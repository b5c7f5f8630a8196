import java.nio.file.Path

/** The stages and models that there are, as bin/discover finds them, each with its image or its environment. */
class Software {
    static private final REMOTE = ['k8s', 'awsbatch', 'google-batch', 'azurebatch']
    static private String engine

    static Map discover(Path projectDir, Map params) {
        engine = params.engine
        def executor = nextflow.Global.session.config.navigate('process.executor') ?: 'local'
        if (executor in REMOTE && !params.registry) {
            Ending.refuse("'${executor}' pulls images from a registry: build and push them with bin/build-images --push --registry R, " +
                "and name the same with --registry R")
        }
        if (engine == 'apptainer' && !params.registry) {
            Ending.refuse('Apptainer pulls its images from a registry: build and push them with bin/build-images --push --registry R, ' +
                'and name the same with --registry R')
        }
        def command = ["${projectDir}/bin/discover".toString(), '--models', params.models.toString(), '--tasks', params.tasks.toString()]
        // Whether an image is there can only be seen for an engine on this machine.
        if (engine == 'venv' || executor == 'local' && engine in ['docker', 'podman']) { command += ['--engine', engine] }
        if (params.registry) { command += ['--registry', params.registry.toString()] }
        if (params.models_dir) { command += ['--models-dir', params.models_dir.toString()] }
        if (params.checkpoints) { command += ['--checkpoints', params.checkpoints.toString()] }
        def out = new StringBuffer()
        def err = new StringBuffer()
        def process = command.execute()
        process.waitForProcessOutput(out, err)
        if (process.exitValue()) { Ending.refuse(err.toString().trim()) }
        def found = Json.parse(out.toString())
        found.stages = found.stages.collectEntries { name, stage -> [name, of(stage)] }
        return found
    }

    /** What runs a stage for a task: the stage's own software for it, such as evaluate_multimodal, where there is any. */
    static Map stage(Map stages, String name, String task) { stages["${name}_${task}".toString()] ?: stages[name] }

    /** The part of a row that says where it runs: an image, or a virtual environment. */
    static Map of(Map row) { engine == 'venv' ? [env: row.env] : [image: row.image] }
}
