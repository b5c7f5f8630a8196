import java.io.File;
import java.util.LinkedHashSet;
import java.util.Set;
import nextflow.config.control.ConfigParser;
import nextflow.script.control.ScriptParser;
import org.codehaus.groovy.control.SourceUnit;
import org.codehaus.groovy.control.messages.SyntaxErrorMessage;
import org.codehaus.groovy.syntax.SyntaxException;

/**
 * Parses scripts and configuration the way that newer releases of Nextflow do, and prints what those reject.
 * Arguments: the folder of the pipeline's Groovy classes, which a run has on its class path, then files.
 */
public class StrictCheck {
    public static void main(String[] args) throws Exception {
        var scripts = new ScriptParser();
        var configs = new ConfigParser();
        // The names are enough: what their methods are is checked when a pipeline runs.
        for (String name : new File(args[0]).list((folder, file) -> file.endsWith(".groovy")))
            scripts.compiler().compilationUnit().getClassLoader().parseClass("class " + name.replace(".groovy", "") + " {}");
        Set<SourceUnit> sources = new LinkedHashSet<>();
        for (int i = 1; i < args.length; i++) {
            var file = new File(args[i]);
            sources.add(args[i].endsWith(".config") ? configs.parse(file) : scripts.parse(file));
        }
        scripts.analyze();
        configs.analyze();
        sources.addAll(scripts.compiler().getSources().values());
        sources.addAll(configs.compiler().getSources().values());
        int count = 0;
        for (var source : sources) {
            var errors = source.getErrorCollector().getErrors();
            if (errors == null) continue;
            for (Object message : errors) {
                count++;
                if (message instanceof SyntaxErrorMessage syntax) {
                    SyntaxException cause = syntax.getCause();
                    System.out.println(source.getName() + ":" + cause.getStartLine() + ":" + cause.getStartColumn() + ": "
                        + cause.getOriginalMessage());
                } else {
                    System.out.println(source.getName() + ": " + message);
                }
            }
        }
        System.out.println(sources.size() + " files, " + count + " errors");
        System.exit(count == 0 ? 0 : 1);
    }
}
