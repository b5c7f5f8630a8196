// Tables, report and verdict over every run of the plan, those without a record too.
process REPORT {
    container { software.image }
    beforeScript { Sandbox.open(task, software) }
    publishDir path: { params.outdir }, mode: 'copy', overwrite: true, saveAs: { name -> Ending.place(name - 'report/') }

    input:
    path plan, stageAs: 'plan.json'
    path records, stageAs: 'staged/?/*' // folders
    val refusals   // what could not be prepared and why, as JSON
    val provenance // as JSON
    val software

    output:
    path 'report/**'

    script:
    """
    mkdir -p staged
    cp -rL staged records
    cat > refusals.json <<'END_OF_JSON'
    ${refusals}
    END_OF_JSON
    cat > provenance.json <<'END_OF_JSON'
    ${provenance}
    END_OF_JSON
    lacuna report --plan plan.json --records records --refusals refusals.json --provenance provenance.json --output report
    """
}
