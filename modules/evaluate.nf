// Judges the answers of one run, or of all runs of a condition, and writes their records whatever they were.
process EVALUATE {
    tag { runs.size() == 1 ? runs[0].run.id : "${runs[0].run.dataset}/${runs[0].run.condition}" }
    container { software.image }
    beforeScript { Sandbox.open(task, software) }
    publishDir path: { params.outdir }, mode: 'copy', overwrite: true, saveAs: { name -> name - 'record/' }

    input:
    // runs: e.g. [[run: [id: 'svd/pbmc/mask_15_seed_42', ...], files: [1, 2, 3]]], the numbers of its files below
    tuple val(runs), val(metrics), path(truth, stageAs: 'truth.h5ad'), path(files, stageAs: 'files/?/*'), val(software)

    output:
    path 'record/*/*/*/*', emit: record // record/<run's id>/status.json and others

    script:
    """
    cat > runs.json <<'END_OF_JSON'
    ${Json.text(runs)}
    END_OF_JSON
    lacuna evaluate --runs runs.json --truth truth.h5ad --files files --metrics '${metrics.join(',')}' --output record
    """
}
