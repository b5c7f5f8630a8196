import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/** JSON in and out. */
class Json {
    static String text(Object value) { JsonOutput.toJson(value) }

    static Object parse(String text) { plain(new JsonSlurper().parseText(text)) }

    /** The parser's own maps are lazy and cannot be serialised, which -resume needs of what goes through channels. */
    static private Object plain(Object value) {
        if (value instanceof Map) { return value.collectEntries { key, item -> [key, plain(item)] } }
        return value instanceof List ? value.collect { item -> plain(item) } : value
    }
}
