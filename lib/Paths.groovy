/** Paths that Nextflow cannot hand to a task. */
class Paths {
    /** Nextflow writes paths into lines of a shell, which makes another path of one that has any of these. */
    static private final List<String> UNFIT = ['$', '*', '?', '[', ']', '{', '}', '\n']

    /** True when tasks can be run from here; stops the pipeline otherwise. */
    static boolean check(Object workflow) {
        def wrong = problems([
            'the pipeline is in': workflow.projectDir, 'the pipeline is started from': workflow.launchDir, 'tasks are run in': workflow.workDir
        ])
        if (wrong) { Ending.refuse(wrong.join('\n')) }
        return true
    }

    /** What is wrong with paths, each by what it is. */
    static List<String> problems(Map paths) {
        paths.findAll { _what, path -> unfit(path.toString()) }.collect { what, path -> "${what} ${path}: ${unfit(path.toString())}".toString() }
    }

    /** Why a path cannot be used, or null. */
    static String unfit(String path) {
        def found = UNFIT.findAll { sign -> path.contains(sign) }
        return found ? "Nextflow cannot handle ${found.join(' ')} in a path; give it another name".toString() : null
    }
}
