// Judges one answer, and writes the run's record whatever it was.
process EVALUATE {
    tag { run.id }
    container { software.image }
    beforeScript { Sandbox.open(task, software) }
    publishDir path: { "${params.outdir}/${run.id}" }, mode: 'copy', overwrite: true, saveAs: { name -> name - 'record/' }

    input:
    tuple val(run), val(metrics), path(truth, stageAs: 'truth.h5ad'), path(files, stageAs: 'files/*')
    val software

    output:
    tuple val(run.id), path('record/*'), emit: record

    script:
    """
    cat > run.json <<'END_OF_JSON'
    ${Json.text(run)}
    END_OF_JSON
    lacuna evaluate --run run.json --truth truth.h5ad --files files --metrics '${metrics.join(',')}' --output record
    """
}
