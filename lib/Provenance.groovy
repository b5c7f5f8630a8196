import java.lang.management.ManagementFactory

/** Where a result comes from, as far as the pipeline knows. Nothing here changes between two equal runs. */
class Provenance {
    static String json(Object workflow, Map params, Map found) {
        def system = ManagementFactory.operatingSystemMXBean
        Json.text([
            lacuna: workflow.manifest.version,
            // Nextflow knows the commit of what it fetched itself alone.
            revision: workflow.commitId ?: found.revision,
            nextflow: workflow.nextflow.version.toString(),
            profile: workflow.profile,
            engine: params.engine,
            executor: nextflow.Global.session.config.navigate('process.executor') ?: 'local',
            parameters: Parameters.given(params),
            stages: found.stages,
            models: found.models.collectEntries { model -> [model.name, [image: model.image, digest: model.digest]] },
            machine: [
                system: "${System.getProperty('os.name')} ${System.getProperty('os.version')}".toString(),
                architecture: System.getProperty('os.arch'),
                cpus: Runtime.runtime.availableProcessors(),
                memory_bytes: system.totalMemorySize,
            ],
        ])
    }
}
