//! Text that was turned into numbers before it came here, which nobody without the model's own tables can read.

use super::walk::{Met, name, walk};

/// Members of a request in which tokens may stand for text.
const MEMBERS: [&str; 2] = ["input", "prompt"];

/// The member that holds a list of tokens, or several such lists; `None` where all is text.
pub fn token_list(body: &[u8]) -> Option<&'static str> {
    let mut found = None;
    let read = walk(body, |path, met| {
        let Met::Scalar(range) = met else { return };
        let [top, lists @ ..] = path.as_slice() else {
            return;
        };
        let member = MEMBERS
            .iter()
            .find(|member| member.as_bytes() == name(body, top));
        let in_lists = !lists.is_empty() && lists.iter().all(|frame| !frame.is_object);
        let is_number = body.get(range.start).is_some_and(u8::is_ascii_digit);
        if let Some(member) = member.filter(|_| in_lists && is_number) {
            found.get_or_insert(*member);
        }
    });
    read.ok().and(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_numbers_is_found_wherever_a_text_may_stand() {
        for (body, member) in [
            (r#"{"input":[1,2]}"#, Some("input")),
            (r#"{"input":["one",[ 3 ]]}"#, Some("input")),
            (r#"{"model":"m","prompt":[[4],[5]]}"#, Some("prompt")),
            (r#"{"input":["1"],"dimensions":256}"#, None),
            (r#"{"prompt":"1","n":2,"logit_bias":{"50256":-100}}"#, None),
            (r#"{"input":[{"type":"text","top":[1]}]}"#, None),
            (r#"{"input":1,"stop":[1]}"#, None),
            (r#"[1]"#, None),
            (r#"{"input":[1"#, None),
        ] {
            assert_eq!(token_list(body.as_bytes()), member, "{body}");
        }
    }
}
