// One model variant on one condition and seed. All models come through here.
// The folder that a model sees names neither condition nor seed: the tag is the plan's number, and inputs are copies.
process RUN_MODEL {
    tag { Plan.label(run.id) }
    container { software.image }
    cpus { run.resources.cpus }
    memory { MemoryUnit.of(run.resources.memory) * task.attempt }
    time { Duration.of(run.resources.time) + Duration.of('5 min') } // the supervisor ends the model; this ends the supervisor
    stageInMode 'copy'
    cache 'deep' // by content: data prepared again, by a newer stage, are the same data
    beforeScript { Sandbox.open(task, software) }
    afterScript Sandbox.CLOSE
    publishDir path: { "${params.outdir}/${run.id}" }, mode: 'copy', overwrite: true, saveAs: { name -> name == 'prediction.h5ad' ? run.prediction : null }

    input:
    tuple val(run), val(software), path(input, stageAs: 'input.h5ad'),
        path(checkpoint, stageAs: 'checkpoint/*'), path(truth, stageAs: 'truth.h5ad') // [] for none; truth: only for a ceiling

    output:
    tuple val(run.id), path('{status.json,metadata.json,prediction.h5ad}'), emit: files

    script:
    def more = (checkpoint ? '--checkpoint checkpoint ' : '') + (truth ? '--truth truth.h5ad' : '')
    """
    cat > params.json <<'END_OF_JSON'
    ${Json.text(run.params)}
    END_OF_JSON
    cat > entry.json <<'END_OF_JSON'
    ${Json.text(run.entry)}
    END_OF_JSON
    lacuna-supervise --entry "\$(cat entry.json)" --input input.h5ad --params params.json ${more} \\
        --timeout ${Duration.of(run.resources.time).toSeconds()}
    """
}
