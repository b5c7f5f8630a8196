// A dataset as it came becomes raw counts in the benchmark's own form.
process IMPORT {
    tag { dataset.dataset }
    container { software.image }
    beforeScript { Sandbox.open(task, software) }
    publishDir path: { params.data_dir }, mode: 'copy', overwrite: true, saveAs: { name -> name == 'data.h5ad' ? dataset.file : null }

    input:
    tuple val(dataset), path(source, stageAs: 'source/*'), val(software) // source: [] for a dataset that the stage makes itself

    output:
    tuple val(dataset.dataset), path('data.h5ad'), emit: raw, optional: true
    tuple val(dataset.dataset), path('refused.txt'), emit: refused, optional: true
    path 'note.txt', emit: note, optional: true // what a person should know of the dataset

    script:
    def from = source ? "--source ${Sandbox.word(source)}" : ''
    """
    cat > dataset.json <<'END_OF_JSON'
    ${Json.text(dataset)}
    END_OF_JSON
    ${Sandbox.refusable("lacuna import --dataset dataset.json ${from} --output data.h5ad --note note.txt")}
    """
}
