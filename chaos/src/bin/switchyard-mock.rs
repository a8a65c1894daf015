//! A mock provider as a command, for SDK tests: prints its base URL and serves until interrupted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use switchyard_chaos::fault;
use switchyard_chaos::mock::{Behaviour, Dialect, Fast, MockOptions, MockProvider, Script};

const USAGE: &str = "\
usage: switchyard-mock [options]
  --dialect NAME               the wire format (openai): openai, anthropic, openai-responses,
                               gemini, bedrock, cohere, ollama
  --port N                     on the loopback; 0 takes a free one (0)
  --name LETTERS               begins every canary word (c)
  --tokens N                   words in an answer (10)
  --first-ms N                 from the request to the first content (0)
  --gap-ms N                   between two content events (0)
  --fault NUMBER               show this fault to every request, e.g. P01 or P04/negative
  --script FILE                what to say at each step of a conversation with tools: an [[answer]]
                               has a text, or an [[answer.call]] with tool and arguments
  --fast                       prebuilt answers for load, no log
  --list                       print every fault and end
  --help                       print this and end
";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Wanted {
    options: MockOptions,
    fault: Option<String>,
    script: Option<PathBuf>,
    list: bool,
    help: bool,
}

fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    let mut arguments = arguments.into_iter();
    while let Some(flag) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--dialect" => {
                let name = value()?;
                wanted.options.dialect = Dialect::by_name(&name).ok_or_else(|| {
                    let known = Dialect::ALL.map(Dialect::name).join(", ");
                    format!("unknown dialect `{name}`; the dialects are {known}")
                })?;
            }
            "--port" => wanted.options.port = number(&flag, &value()?)?,
            "--name" => wanted.options.name = value()?,
            "--tokens" => wanted.options.weather.tokens = number(&flag, &value()?)?,
            "--first-ms" => {
                let wait = Duration::from_millis(number(&flag, &value()?)?);
                wanted.options.weather = wanted.options.weather.first_content(wait);
            }
            "--gap-ms" => {
                let gap = Duration::from_millis(number(&flag, &value()?)?);
                wanted.options.weather = wanted.options.weather.gap(gap);
            }
            "--fault" => wanted.fault = Some(value()?),
            "--script" => wanted.script = Some(value()?.into()),
            "--fast" => wanted.options.fast = Some(Fast::default()),
            "--list" => wanted.list = true,
            "--help" | "-h" => wanted.help = true,
            other => return Err(format!("unknown option `{other}`")),
        }
    }
    Ok(wanted)
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{flag} needs a whole number, not `{text}`"))
}

/// One line per form of a fault, as `--fault` takes it.
fn list(dialect: Dialect) -> String {
    let mut lines = String::new();
    for row in fault::rows() {
        for variant in fault::variants(row.number, dialect) {
            lines.push_str(&format!("{}/{}  {}\n", row.number, variant.name, row.what));
        }
    }
    lines
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(wanted) => run(wanted).await,
        Err(complaint) => Err(format!("{complaint}\n{USAGE}")),
    };
    let Err(complaint) = outcome else {
        return ExitCode::SUCCESS;
    };
    // Nothing is left to do when even stderr is gone.
    let _ = writeln!(std::io::stderr(), "{complaint}");
    ExitCode::FAILURE
}

async fn run(wanted: Wanted) -> Result<(), String> {
    let Wanted {
        options,
        fault,
        script,
        list: only_list,
        help,
    } = wanted;
    let dialect = options.dialect;
    if help {
        return say(USAGE);
    }
    if only_list {
        return say(&list(dialect));
    }
    let behaviour = match (fault, script) {
        (Some(_), Some(_)) => return Err("leave out --fault or --script".to_owned()),
        (Some(number), None) => Some(behaviour(&number, dialect)?),
        (None, Some(file)) => Some(scripted(&file)?),
        (None, None) => None,
    };
    if behaviour.is_some() && options.fast.is_some() {
        return Err("--fast shows no faults and follows no script: leave out --fast".to_owned());
    }
    let mock = MockProvider::start(options)
        .await
        .map_err(|error| format!("cannot listen: {error}"))?;
    if let Some(behaviour) = behaviour {
        mock.set(behaviour);
    }
    say(&format!("{}\n", mock.base_url()))?;
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| format!("cannot wait for the interrupt: {error}"))
}

fn behaviour(number: &str, dialect: Dialect) -> Result<Behaviour, String> {
    fault::by_number(number, dialect)
        .ok_or_else(|| format!("no fault `{number}` in this dialect, see --list"))
}

fn scripted(file: &Path) -> Result<Behaviour, String> {
    let told = |complaint: String| format!("{}: {complaint}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| told(error.to_string()))?;
    Script::read(&text).map(Script::behaviour).map_err(told)
}

fn say(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| format!("cannot print: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_command_line_is_read_and_mistakes_are_named() {
        let wanted = parse(words(
            "--dialect anthropic --port 9901 --tokens 3 --fault P01",
        ))
        .unwrap();
        assert_eq!(
            (wanted.options.dialect, wanted.options.port),
            (Dialect::Anthropic, 9901)
        );
        assert_eq!(
            (wanted.options.weather.tokens, wanted.fault.as_deref()),
            (3, Some("P01"))
        );
        assert!(parse(words("--help")).unwrap().help);
        assert!(
            parse(words("--port x"))
                .unwrap_err()
                .contains("whole number")
        );
        assert!(
            parse(words("--port"))
                .unwrap_err()
                .contains("needs a value")
        );
        assert!(
            parse(words("--dialect klingon"))
                .unwrap_err()
                .contains("klingon")
        );
        assert!(parse(words("--what")).unwrap_err().contains("--what"));
    }

    #[test]
    fn every_listed_fault_can_be_asked_for() {
        for dialect in Dialect::ALL {
            let wanted = parse(words(&format!("--dialect {}", dialect.name()))).unwrap();
            assert_eq!(wanted.options.dialect, dialect);
            assert!(USAGE.contains(dialect.name()), "{dialect:?}");
            let lines = list(dialect);
            assert!(lines.lines().count() > 90, "{dialect:?}");
            for line in lines.lines() {
                let number = line.split("  ").next().unwrap();
                assert!(behaviour(number, dialect).is_ok(), "{number}");
            }
        }
    }
}
