import java.nio.file.Files
import java.nio.file.Path

/**
 * How often runs were retried because the user asked (--retry_failed), by run id.
 *
 * A failure that was recorded by a task that ended well is cached like a success. The count is part of such a task's
 * input, so that asking again runs it again; it is kept in <outdir>/pipeline_info/retries.json, so that a later -resume
 * finds the retried task and not the first.
 */
class Retries {
    static Map<String, Integer> read(Path projectDir, Map params) {
        Path outdir = nextflow.Nextflow.file(params.outdir)
        Path file = outdir.resolve('pipeline_info/retries.json')
        Path results = outdir.resolve('results.json')
        def kept = Files.exists(file) ? Json.parse(file.text) : [counts: [:], seen: null]
        if (!params.retry_failed || !Files.exists(results)) { return kept.counts }
        def text = results.text
        def seen = text.md5()
        if (seen == kept.seen) { return kept.counts } // these failures were counted by a run that did not get to its report
        def failures = Json.parse(projectDir.resolve('schemas/status.schema.json').text)['$defs'].failure.enum
        Json.parse(text).runs.findAll { run -> run.status in failures }
            .each { run -> kept.counts[run.id] = (kept.counts[run.id] ?: 0) + 1 }
        Files.createDirectories(file.parent)
        file.text = Json.text([counts: kept.counts, seen: seen])
        return kept.counts
    }
}
