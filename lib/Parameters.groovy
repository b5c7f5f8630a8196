import java.nio.file.Files
import java.nio.file.Path

/** The pipeline's parameters. nextflow_schema.json says everything that is known about them. */
class Parameters {
    /** Text for --help. */
    static String help(Path projectDir, Object manifest) {
        def schema = read(projectDir)
        def profiles = projectDir.resolve('conf').toFile().list().findAll { name -> name.endsWith('.config') }*.replace('.config', '') - 'base'
        def lines = ["${manifest.name} ${manifest.version}: ${manifest.description}", '',
            '  nextflow run main.nf -profile docker [-resume] [parameters]',
            "  profiles, joined by commas: ${profiles.sort().join(', ')}"]
        groups(schema).each { group ->
            def shown = group.properties.findAll { _name, spec -> !spec.hidden }
            if (!shown) { return }
            def width = shown.keySet()*.size().max() + 2
            lines += ['', group.title]
            shown.each { name, spec ->
                def preset = spec.default != null && spec.default != false ? " [default: ${spec.default}]" : ''
                def choice = spec.enum ? " One of: ${spec.enum.join(', ')}." : spec.words ? " Any of: ${spec.words.join(', ')}." : ''
                lines << "  --${name.padRight(width)}${spec.description}${choice}${preset}".toString()
            }
        }
        return lines.join('\n')
    }

    /** True when all parameters are as the schema says; stops the pipeline with everything that is wrong otherwise. */
    static boolean check(Path projectDir, Map params) {
        def wrong = problems(known(read(projectDir)), params)
        if (wrong) {
            def head = wrong.size() == 1 ? 'A parameter is wrong' : "${wrong.size()} parameters are wrong"
            Ending.refuse("${head} (--help lists all):\n  " + wrong.join('\n  '))
        }
        return true
    }

    /** The parameters without the one that must not be published. */
    static Map given(Map params) { params.findAll { name, _value -> name != 'salt' } }

    /** The parameters as the planning stage gets them. */
    static String json(Map params) { Json.text(given(params).findAll { name, _value -> !(name in ['outdir', 'data_dir', 'retry_failed', 'help']) }) }

    static List<String> problems(Map specs, Map params) {
        def wrong = []
        params.keySet().findAll { name -> !(name in specs) }.groupBy { name -> snake(name) }.each { name, spellings ->
            // Nextflow adds a camelCase twin to every --kebab-case parameter.
            def typed = spellings.find { s -> s.contains('-') } ?: spellings[0]
            def near = name in specs ? name : nearest(name, specs.findAll { _n, spec -> !spec.hidden }.keySet())
            wrong << "unknown parameter --${typed}." + (near ? " Did you mean --${near}?" : '')
        }
        specs.each { name, spec ->
            def value = params[name]
            if (value == null) {
                if (spec.required) { wrong << "--${name} is missing: ${spec.description}" }
                return
            }
            def why = mismatch(spec, value)
            if (why) { wrong << "--${name} ${shown(value)}: ${why}" }
        }
        return wrong*.toString()
    }

    static private String mismatch(Map spec, Object value) {
        def types = [spec.type].flatten()
        def ok = types.any { type ->
            switch (type) {
                case 'boolean': return value instanceof Boolean
                case 'integer': return value instanceof Integer || value instanceof Long || value instanceof BigInteger
                case 'number': return value instanceof Number
                case 'string': return value instanceof CharSequence
                default: throw new IllegalStateException("nextflow_schema.json: type ${type} is not known here")
            }
        }
        def text = shown(value)
        if (!ok) { return spec.errorMessage ?: value == true ? 'needs a value' : "expected ${types.join(' or ')}" }
        def known = spec.enum ?: spec.words // `words`: any of them, joined by commas
        def given = !known ? [] : spec.words ? text.tokenize(',')*.trim() : [text]
        def unknown = given.find { word -> !(word in known*.toString()) }
        if (unknown) {
            def near = nearest(unknown, known*.toString())
            return (near ? "did you mean '${near}'? " : '') + "There are: ${known.join(', ')}"
        }
        if (spec.pattern && !(text ==~ spec.pattern)) { return spec.errorMessage ?: "expected text like ${spec.pattern}" }
        if (value instanceof Number && spec.minimum != null && value < spec.minimum) { return "expected ${spec.minimum} or more" }
        if (value instanceof Number && spec.maximum != null && value > spec.maximum) { return "expected ${spec.maximum} or less" }
        if (spec.staged && Paths.unfit(text)) { return Paths.unfit(text) }
        if (spec.exists && !text.contains('://') && !Files.exists(Path.of(text))) { return "there is no such ${spec.format == 'directory-path' ? 'folder' : 'file'}" }
        return null
    }

    static Map read(Path projectDir) { Json.parse(projectDir.resolve('nextflow_schema.json').text) }

    static private List<Map> groups(Map schema) { schema.allOf.collect { part -> schema['$defs'][part['$ref'].tokenize('/').last()] } }

    static Map known(Map schema) {
        groups(schema).collectEntries { group ->
            group.properties.collectEntries { name, spec -> [name, spec + [required: name in (group.required ?: [])]] }
        }
    }

    static private String snake(String name) { name.replaceAll(/([a-z0-9])([A-Z])/, '$1_$2').toLowerCase().replace('-', '_') }

    static private String shown(Object value) { value instanceof Number ? new BigDecimal(value.toString()).toPlainString() : value.toString() }

    /** The known word that takes the fewest changes, if that is at most a third of its letters or one begins the other. */
    static String nearest(String word, Collection<String> known) {
        if (!known) { return null }
        def best = known.min { candidate -> distance(word, candidate) }
        def begun = known.find { candidate -> word.size() > 2 && (candidate.startsWith(word) || word.startsWith(candidate)) }
        return distance(word, best) <= Math.max(2, best.size().intdiv(3)) ? best : begun
    }

    static private int distance(String a, String b) {
        def row = (0..b.size()).toList()
        a.eachWithIndex { letter, i ->
            def next = [i + 1]
            b.eachWithIndex { other, j -> next << [row[j + 1] + 1, next[j] + 1, row[j] + (letter == other ? 0 : 1)].min() }
            row = next
        }
        return row.last()
    }
}
