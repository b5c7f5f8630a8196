// What there is to do: every dataset, condition and run, or why the parameters make no sense.
process PLAN {
    container { software.image }
    beforeScript { Sandbox.open(task, software) }

    input:
    val parameters // the pipeline's parameters, as JSON
    val models     // what bin/discover found, as JSON
    path sheet     // the dataset sheet, or []
    val software

    output:
    path 'plan.json', emit: plan, optional: true
    path 'refused.txt', emit: refused, optional: true

    script:
    def rows = sheet ? "--sheet ${Sandbox.word(sheet)}" : ''
    """
    cat > params.json <<'END_OF_JSON'
    ${parameters}
    END_OF_JSON
    cat > models.json <<'END_OF_JSON'
    ${models}
    END_OF_JSON
    ${Sandbox.refusable("lacuna plan --params params.json --models models.json ${rows} --output plan.json")}
    """
}
