//! What a search of a prompt costs, every class and some names and patterns looked for.

use std::path::Path;

use switchyard::config::Source;
use switchyard::dispatch::hits_in;

use super::process::cpu_micros;
use super::{Fault, float, say};

const RULES: &str = r#"
[guard]
names = ["Anna Example", "Bob Example", "Zoe Example"]
patterns = [{ name = "order", regex = 'ORD-\d{6}' }]
[guard.requests]
email = "redact"
phone = "redact"
card = "redact"
iban = "redact"
national_id = "redact"
ip = "redact"
name = "redact"
secret = "redact"
order = "redact"
"#;
/// What people write, with the numbers and marks that people write.
const PROSE: &str = "On 12 March 2024 the committee met at 10:30 in room 4.12 and discussed the budget of 1,250,000.50 \
    euros; see section 3.2.1, pages 12-14. \"Nothing is decided,\" she said: the vote (7 to 5) comes later. Costs rose by 3.5 % \
    over 2023, as https://example.org/report?year=2023 shows. Please read it, and tell us what you think. ";
const BYTES: usize = 8 * 1024;
const ROUNDS: usize = 5;
const SEARCHES: u64 = 400;

pub(super) fn measure(folder: &Path) -> Result<(), Fault> {
    let file = folder.join("guard.toml");
    std::fs::write(&file, RULES)?;
    let settings = Source { file: Some(file) }.load()?;
    let guard = settings.guard.ok_or("the rules are not in force")?;
    say("\nCPU time of the guard's search of a prompt, all classes; median of 5 rounds");
    say(&format!("{:<36} {:>9} {:>9}", "", "µs", "hits"));
    let hit =
        "Write to anna@example.com, +49 170 1234567, card 4111 1111 1111 1111, from 192.168.17.5. ";
    for (name, every) in [
        ("8 KB of prose", usize::MAX),
        ("8 KB with four hits in each KB", 1_024),
    ] {
        let mut text = String::new();
        let mut next = every;
        while text.len() < BYTES {
            if text.len() >= next {
                text.push_str(hit);
                next = next.saturating_add(every);
            }
            text.push_str(PROSE);
        }
        text.truncate(BYTES);
        let prompt =
            serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]});
        let prompt = prompt.to_string();
        let mut rounds = Vec::new();
        let mut hits = 0;
        for _ in 0..ROUNDS {
            let before = cpu_micros(std::process::id())?;
            for _ in 0..SEARCHES {
                hits = hits_in(&guard, prompt.as_bytes()).ok_or("the prompt was not searched")?;
            }
            rounds.push((cpu_micros(std::process::id())? - before) / float(SEARCHES));
        }
        say(&format!(
            "{name:<36} {:>9.1} {hits:>9}",
            super::median(rounds)
        ));
    }
    Ok(())
}
