import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic

/** JSON in and out. The classic parser gives plain maps: what goes through channels must be serialised for -resume. */
class Json {
    static String text(Object value) { JsonOutput.toJson(value) }

    static Object parse(String text) { new JsonSlurperClassic().parseText(text) }
}
