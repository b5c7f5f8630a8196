#!/usr/bin/env nextflow
// Hide something known, give the rest to every model in a container of its own, score what comes back.
// The flow names no task and no model: PLAN turns parameters and manifests into rows, and each row is a task here.

include { PLAN                       } from './modules/plan'
include { IMPORT                     } from './modules/import'
include { PREPARE                    } from './modules/prepare'
include { RUN_MODEL                  } from './modules/run_model'
include { RUN_MODEL as RUN_MODEL_GPU } from './modules/run_model'
include { EVALUATE                   } from './modules/evaluate'
include { REPORT                     } from './modules/report'

workflow {
    if (params.help) {
        println(Parameters.help(projectDir, workflow.manifest))
        return
    }
    Sandbox.hideBin()
    // e.g. [stages: [prepare: [image: 'lacuna/stage-prepare:3f9a', env: null], ...], models: [[name: 'svd', ...], ...]]
    sound = Parameters.check(projectDir, params) && Profiles.check(projectDir, workflow.profile) && Paths.check(workflow)
    found = sound ? Software.discover(projectDir, params) : null
    stages = found.stages
    sheet = params.sheet ? file(params.sheet, checkIfExists: true) : []

    PLAN(Parameters.json(params), Json.text(found), sheet, stages.prepare)
    PLAN.out.refused.subscribe { refused -> error(Sandbox.reason(refused)) }
    plan = PLAN.out.plan.map { json -> Plan.read(json, projectDir, params) }

    // each emission is [dataset, file], e.g. [[dataset: 'pbmc', task: 'reconstruction', ...], []]
    datasets = plan.flatMap { rows -> rows.datasets }
        .map { row -> tuple(row, row.source ? Plan.source(row, params.sheet) : []) }
    IMPORT(datasets.map { row, source -> tuple(row, source, Software.stage(stages, 'prepare', row.task)) })
    IMPORT.out.note.subscribe { note -> println("Note: ${note.text.trim()}") }

    // each emission is [condition, raw], e.g. [[key: 'reconstruction/pbmc/mask_15_seed_42', seed: 42, ...], data.h5ad]
    conditions = plan.flatMap { rows -> rows.conditions }.map { row -> tuple(row.dataset, row) }
        .combine(IMPORT.out.raw, by: 0)
        .map { _dataset, condition, raw -> tuple(condition, raw) }
    PREPARE(
        conditions.map { condition, raw -> tuple(condition, raw, Software.stage(stages, 'prepare', condition.task)) },
        params.salt == null ? 'none' : params.salt
    )
    PREPARE.out.note.subscribe { note -> println("Note: ${note.text.trim()}") }

    // each emission is [run, input, truth], e.g. [[id: 'svd/pbmc/mask_15_seed_42', model: 'svd', ...], input.h5ad, truth.h5ad]
    runs = plan.flatMap { rows -> rows.runs }.filter { run -> !run.not_applicable }.map { run -> tuple(run.key, run) }
        .combine(PREPARE.out.pair, by: 0)
        .map { _key, run, input, truth -> tuple(run, input, truth) }

    // each emission is [task, software, input, checkpoint, truth]: only a ceiling gets the truth, for others it is []
    work = runs.map { run, input, truth ->
            tuple(Plan.task(run), Software.of(run), input, Plan.checkpoint(run), run.control == 'ceiling' ? truth : [])
        }
        .branch { task, _software, _input, _checkpoint, _truth ->
            gpu: params.gpu && task.resources.gpu != 'never'
            cpu: true
        }
    RUN_MODEL(work.cpu)
    RUN_MODEL_GPU(work.gpu)

    // each emission is [group, runs, truths, files], e.g. ['svd/pbmc/mask_15_seed_42', [[...]], [truth.h5ad], [[status.json, ...]]]
    // A group is one run, or all runs of a condition where the task scores them together.
    answers = runs.map { run, _input, truth -> tuple(run.id, run, truth) }
        .join(RUN_MODEL.out.files.mix(RUN_MODEL_GPU.out.files))
        .map { _id, run, truth, files -> tuple(groupKey(run.group, run.group_size), run, truth, files) }
        .groupTuple(remainder: true)
    EVALUATE(answers.map { _group, of, truths, files -> Plan.evaluation(of, truths, files, stages) })

    // one emission, however few runs came so far: the folders of all records, in the order of the runs' ids
    records = EVALUATE.out.record.flatMap { files -> [files].flatten()*.parent.unique() }
        .toSortedList { a, b -> Plan.id(a) <=> Plan.id(b) }
    // one emission: what could not be prepared and why, e.g. [[dataset: 'mine', reason: 'mine.h5ad: X holds fractions']]
    refusals = IMPORT.out.refused.map { dataset, why -> [dataset: dataset, reason: Sandbox.reason(why)] }
        .mix(PREPARE.out.refused.map { key, why -> [key: key] + Sandbox.refusal(why) })
        .toSortedList { a, b -> a.toString() <=> b.toString() }
    REPORT(PLAN.out.plan, records, refusals.map { list -> Json.text(list) }, Provenance.json(workflow, params, found), stages.report)

    workflow.onComplete = {
        if (Ending.tell(workflow, params)) {
            error('not every run worked')
        }
    }
}
