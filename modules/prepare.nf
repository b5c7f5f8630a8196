// Hides something: what models see, and the truth that they do not.
// The names of files say nothing about the condition, because a model's folder holds copies of them.
process PREPARE {
    tag { condition.key }
    container { software.image }
    beforeScript { Sandbox.open(task, software) }
    publishDir path: { params.data_dir }, mode: 'copy', overwrite: true, saveAs: { name -> condition.files[name - '.h5ad'] }

    input:
    tuple val(condition), path(raw, stageAs: 'data.h5ad'), val(software)
    env 'LACUNA_SALT' // in the environment, and so not in the report of commands

    output:
    tuple val(condition.key), path('input.h5ad'), path('truth.h5ad'), emit: pair, optional: true
    tuple val(condition.key), path('refused.txt'), emit: refused, optional: true
    path 'note.txt', emit: note, optional: true // what a person should know of the condition

    script:
    def salt = params.salt == null ? '' : '--salt "$LACUNA_SALT"'
    def command = "lacuna prepare --condition condition.json --raw data.h5ad --input input.h5ad --truth truth.h5ad --note note.txt ${salt}"
    """
    cat > condition.json <<'END_OF_JSON'
    ${Json.text(condition)}
    END_OF_JSON
    ${Sandbox.refusable(command)}
    """
}
