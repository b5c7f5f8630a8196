import java.nio.file.Files

/** The last words of a pipeline run, and its exit code. */
class Ending {
    /** Where a file of the report stage is published, below the folder of results. */
    static String place(String name) {
        name in ['summary.txt', 'verdict.json'] ? "pipeline_info/${name}" : name - ~'^records/'
    }

    /** Ends a run before it began, with a message for the person who started it and none for a programmer. */
    static void refuse(String message) {
        System.err.println(message)
        throw new nextflow.exception.AbortRunException()
    }

    /** Prints the summary. True when the run has to fail and could not be marked as failed. */
    static boolean tell(Object workflow, Map params) {
        def outdir = nextflow.Nextflow.file(params.outdir)
        if (!workflow.success) {
            // Of a file that cannot be published, Nextflow itself only says which.
            def error = nextflow.Global.session.error
            println('\nThe pipeline stopped before its report was complete' + (error instanceof IOException ? ": ${error.message}" : '') +
                '.\nWhen the cause is gone, the same command with -resume goes on from here.')
            return false
        }
        def info = outdir.resolve('pipeline_info')
        if (!Files.exists(info.resolve('verdict.json'))) { return false }
        def verdict = Json.parse(info.resolve('verdict.json').text)
        println('\n' + info.resolve('summary.txt').text.trim())
        println("\nReport: ${outdir.resolve('report.html').toUriString().replace('file://', '')}")
        if (!verdict.failed) { return false }
        println("${verdict.failed} of ${verdict.runs} runs failed, so this ends with exit code 1. The reasons are above and in the report; " +
            '-resume --retry_failed tries them again.')
        return !failSession()
    }

    /** Throwing here would leave the execution reports unwritten. The flag is what workflow.failOnIgnore sets. */
    static private boolean failSession() {
        try {
            nextflow.Global.session.@failOnIgnore = true
            return true
        } catch (MissingFieldException ignored) {
            return false
        }
    }
}
