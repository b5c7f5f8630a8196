import java.nio.file.Files
import java.nio.file.Path

/** What is wrong with the profiles of a run, before any of its tasks starts. */
class Profiles {
    /** The program that submits a job, by executor: Nextflow itself would only miss it at the first task. */
    static private final Map<String, String> SUBMIT = [slurm: 'sbatch', sge: 'qsub', pbs: 'qsub', pbspro: 'qsub', lsf: 'bsub']

    /** True when the profiles can be combined and this machine can submit jobs; stops the pipeline otherwise. */
    static boolean check(Path projectDir, String profile) {
        def config = nextflow.Global.session.config
        def executor = config.navigate('process.executor')
        def wrong = problems(projectDir, profile, executor instanceof CharSequence ? executor.toString() : 'local', System.getenv('PATH'))
        if (executor == 'k8s') { wrong += noCluster(config.navigate('k8s.client'), System.getenv('KUBECONFIG'), Path.of(System.getProperty('user.home'))) }
        if (executor == 'slurm' && !wrong) { wrong += noAnswer('sinfo') }
        if (wrong) { Ending.refuse(wrong.join('\n')) }
        return true
    }

    static List<String> problems(Path projectDir, String profile, String executor, String path) {
        def given = (profile ?: '').tokenize(',')*.trim().unique()
        def wrong = [engine: /(?m)^params\.engine *=/, place: /(?m)^ *executor *= *'/].collect { what, setting ->
            def known = setBy(projectDir, setting)
            def several = given.findAll { name -> name in known }
            several.size() < 2 ? null : "-profile ${profile}: ${several.join(' and ')} each name the ${what} to run with; " +
                "take one of: ${known.join(', ')}"
        }
        def program = SUBMIT[executor]
        if (program && !path.tokenize(':').any { folder -> Files.isExecutable(Path.of(folder, program)) }) {
            wrong << "jobs of the executor '${executor}' are submitted with ${program}, which is not on PATH: start the pipeline on a machine that " +
                "submits jobs, such as the cluster's login node, or leave the profile out"
        }
        return wrong.findAll { problem -> problem }*.toString()
    }

    /** Whether Slurm is there, by a program that asks it; nothing where that program is not installed. */
    static List<String> noAnswer(String program) {
        def (out, err) = [new StringBuffer(), new StringBuffer()]
        try {
            def process = [program, '--noheader'].execute()
            process.waitForProcessOutput(out, err)
            return process.exitValue() ? ["Slurm is installed here, and no cluster answers: ${err.toString().trim()}".toString()] : []
        } catch (IOException ignored) {
            return []
        }
    }

    /** Where Nextflow looks for a cluster, if there is none: it would say that at the first task, and not where it looked. */
    static List<String> noCluster(Object client, String kubeconfig, Path home) {
        def places = [home.resolve('.kube/config'), Path.of('/var/run/secrets/kubernetes.io/serviceaccount')]
        if (client || kubeconfig || places.any { place -> Files.exists(place) }) { return [] }
        return ["no Kubernetes cluster is known: expected ${places[0]}, another file in \$KUBECONFIG, a pod's service account, or k8s.client in a " +
            'file that -c names. docs/executors.md has the settings']
    }

    /** The profiles that make a setting, as their files in conf/ say. */
    static private List<String> setBy(Path projectDir, String setting) {
        projectDir.resolve('conf').toFile().listFiles().findAll { file -> file.name.endsWith('.config') && file.text =~ setting }
            *.name*.replace('.config', '').sort() - 'base'
    }
}
