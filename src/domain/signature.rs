//! What a provider signs of its thoughts, and who gets it back.
//!
//! # Why by signer
//! A signature is refused by everyone but the account that wrote it, and with it the whole request; kept from its
//! writer, a call under way is refused as well. The dialect does not tell the writer: a pool may hold two accounts
//! of one company, or a company and its copies. So every signature has a signer, and a marker in front of it says
//! who that is. Of the signers that speak a client's dialect one is at **home** there and goes without a marker:
//! what a client brought along from elsewhere, or takes away to the company itself, is as that one wrote it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};

use super::chat::{ChatAnswer, ChatEvent, ChatRequest, Part};
use super::{Dialect, SignerName};

/// What a marked signature begins with; no provider's own does, and hardly a prompt.
pub const FOREIGN_SIGNATURE: &str = "switchyard-signed~";

/// The same in base64, without the last letter, which is another one in each of its two alphabets.
pub const FOREIGN_IN_BASE64: &str = "c3dpdGNoeWFyZC1zaWduZWR";

/// What stands before a redacted thought's data where it shares its place with signatures: no letter of base64, which
/// every signature is written in, is a colon.
const REDACTED: &str = "redacted:";

/// An opaque proof that only who wrote it understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The form it is written in.
    pub by: Dialect,
    /// `None`: the provider that the request is for, or the answer from; at a client, who is at home in its dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<SignerName>,
    pub data: String,
}

impl Part {
    /// A thought from where signatures and redacted thoughts share a place.
    pub fn thought(text: String, signature: Option<Signature>) -> Self {
        let redacted = signature.as_ref().and_then(|own| {
            let data = own.data.strip_prefix(REDACTED)?.to_owned();
            Some(Signature {
                data,
                ..own.clone()
            })
        });
        match redacted {
            Some(data) => Self::RedactedThinking { data },
            None => Self::Thinking { text, signature },
        }
    }
}

impl Signature {
    /// A redacted thought's data as it stands where signatures do; [`Part::thought`] reads it.
    pub fn of_redacted(data: &Self) -> Self {
        Self {
            data: format!("{REDACTED}{}", data.data),
            ..data.clone()
        }
    }

    pub fn new(by: Dialect, data: impl Into<String>) -> Self {
        Self {
            by,
            signer: None,
            data: data.into(),
        }
    }

    /// Reads what a client of this dialect sent back.
    pub fn read(text: &str, native: Dialect) -> Self {
        let plain = from_base64(text);
        let marked = plain
            .as_deref()
            .unwrap_or(text)
            .strip_prefix(FOREIGN_SIGNATURE);
        marked
            .and_then(Self::named)
            .unwrap_or_else(|| Self::new(native, text))
    }

    /// Whether a text is a signature behind a marker.
    pub fn is_marked(text: &str) -> bool {
        text.starts_with(FOREIGN_SIGNATURE) || text.starts_with(FOREIGN_IN_BASE64)
    }

    /// As a client of this dialect gets it.
    pub fn shown(&self, native: Dialect) -> String {
        if self.by == native && self.signer.is_none() {
            return self.data.clone();
        }
        let marked = format!("{FOREIGN_SIGNATURE}{}", self.with_name());
        match native {
            // Google's own SDKs read a signature as base64, and refuse the whole answer when it is not.
            Dialect::Gemini => STANDARD.encode(marked),
            Dialect::Openai
            | Dialect::Responses
            | Dialect::Anthropic
            | Dialect::Bedrock
            | Dialect::Cohere
            | Dialect::Ollama => marked,
        }
    }

    /// The data behind its form and its signer.
    pub fn with_name(&self) -> String {
        let form = self.by.label();
        match &self.signer {
            None => format!("{form}~{}", self.data),
            Some(signer) => format!("{form}:{signer}~{}", self.data),
        }
    }

    /// Reads [`Signature::with_name`]. No name holds a tilde, and no form's a colon.
    pub fn named(text: &str) -> Option<Self> {
        let (writer, data) = text.split_once('~')?;
        let (form, signer) = match writer.split_once(':') {
            Some((form, signer)) => (form, Some(signer.into())),
            None => (writer, None),
        };
        Some(Self {
            by: Dialect::by_label(form)?,
            signer,
            data: data.to_owned(),
        })
    }

    /// The data, if the provider wrote it that is spoken to in this dialect.
    pub fn written_by(&self, provider: Dialect) -> Option<&str> {
        (self.by == provider && self.signer.is_none()).then_some(&*self.data)
    }

    /// Nobody signed: it only says that the thought was another's.
    fn is_blank(&self) -> bool {
        self.data.is_empty()
    }
}

/// A marker in base64, of whichever alphabet and padding: who reads bytes writes them again in its own way.
fn from_base64(text: &str) -> Option<String> {
    text.starts_with(FOREIGN_IN_BASE64).then_some(())?;
    let letters = text.trim_end_matches('=');
    let letters = letters.replace('-', "+").replace('_', "/");
    String::from_utf8(STANDARD_NO_PAD.decode(letters).ok()?).ok()
}

/// Who is at home in which dialect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    homes: BTreeMap<&'static str, SignerName>,
}

impl Signers {
    pub fn new(homes: impl IntoIterator<Item = (Dialect, SignerName)>) -> Self {
        let homes = homes.into_iter();
        Self {
            homes: homes.map(|(form, name)| (form.label(), name)).collect(),
        }
    }

    fn home(&self, form: Dialect) -> Option<&SignerName> {
        self.homes.get(form.label())
    }

    pub fn is_home(&self, form: Dialect, signer: &SignerName) -> bool {
        self.home(form) == Some(signer)
    }

    /// Whether this signer wrote it.
    fn is_of(&self, signature: &Signature, signer: &SignerName) -> bool {
        let named = signature.signer.as_ref();
        match named.or_else(|| self.home(signature.by)) {
            Some(writer) => writer == signer,
            // Nobody is at home in the form that dozens copied; elsewhere there is nobody to take it for.
            None => signature.by != Dialect::Openai,
        }
    }

    /// The data for this signer where it is spoken to in this dialect, of what a client brought.
    pub fn known<'a>(
        &self,
        signature: &'a Signature,
        (form, signer): (Dialect, &SignerName),
    ) -> Option<&'a str> {
        let fits = signature.by == form && self.is_of(signature, signer);
        fits.then_some(&*signature.data)
    }

    /// Turns what a client sent into what this signer is sent: its own is without a name, every other's has one.
    pub fn settle(&self, request: &mut ChatRequest, (form, signer): (Dialect, &SignerName)) {
        let parts = request.messages.iter_mut();
        for part in parts.flat_map(|message| &mut message.parts) {
            let Some((signature, redacted)) = signature_of(part) else {
                continue;
            };
            if signature.is_blank() {
                continue;
            }
            if self.is_of(signature, signer) {
                signature.signer = None;
                if !redacted && may_become(signature.by, form) {
                    signature.by = form;
                }
            } else if signature.signer.is_none() {
                signature.signer = self.home(signature.by).cloned();
            }
        }
    }

    /// For the answers of this signer.
    pub fn stamp(self: &Arc<Self>, signer: SignerName) -> Stamp {
        Stamp {
            signers: Arc::clone(self),
            signer,
        }
    }
}

/// Anthropic's platforms know one another's signatures again, as its documents say; of redacted thoughts they do not
/// say it, and one platform writes them in letters of its own.
fn may_become(by: Dialect, form: Dialect) -> bool {
    matches!(
        (by, form),
        (Dialect::Anthropic, Dialect::Bedrock) | (Dialect::Bedrock, Dialect::Anthropic)
    )
}

/// The signature of a part, and whether it stands for a redacted thought.
fn signature_of(part: &mut Part) -> Option<(&mut Signature, bool)> {
    match part {
        Part::Thinking { signature, .. } | Part::ToolCall { signature, .. } => {
            signature.as_mut().map(|signature| (signature, false))
        }
        Part::RedactedThinking { data } => Some((data, true)),
        Part::Text { .. }
        | Part::Image { .. }
        | Part::Document { .. }
        | Part::Audio { .. }
        | Part::ToolResult { .. }
        | Part::Refusal { .. }
        | Part::CachePoint { .. } => None,
    }
}

/// Says of what a provider signed who it was.
#[derive(Clone, Debug)]
pub struct Stamp {
    signers: Arc<Signers>,
    signer: SignerName,
}

impl Stamp {
    /// The signer's name where it has to be said to clients of this dialect.
    pub fn name_for(&self, form: Dialect) -> Option<&SignerName> {
        (!self.signers.is_home(form, &self.signer)).then_some(&self.signer)
    }

    fn put(&self, signature: &mut Signature, redacted: bool) {
        // Clients know Anthropic's own form.
        if !redacted && may_become(signature.by, Dialect::Anthropic) && self.is_claude() {
            signature.by = Dialect::Anthropic;
        }
        signature.signer = self.name_for(signature.by).cloned();
    }

    /// Other models of the same platform sign for themselves.
    fn is_claude(&self) -> bool {
        self.signer.as_str() == SignerName::ANTHROPIC
    }

    pub fn answer(&self, answer: &mut ChatAnswer) {
        for part in &mut answer.parts {
            if let Some((signature, redacted)) = signature_of(part) {
                self.put(signature, redacted);
            }
        }
    }

    pub fn event(&self, event: &mut ChatEvent) {
        match event {
            ChatEvent::Signed { signature } => self.put(signature, false),
            ChatEvent::RedactedThinking { data } => self.put(data, true),
            ChatEvent::ToolCall { signature, .. } => {
                if let Some(signature) = signature {
                    self.put(signature, false);
                }
            }
            ChatEvent::Start { .. }
            | ChatEvent::Text { .. }
            | ChatEvent::Thinking { .. }
            | ChatEvent::Refusal { .. }
            | ChatEvent::Logprobs { .. }
            | ChatEvent::Citation { .. }
            | ChatEvent::Foreign { .. }
            | ChatEvent::Trace
            | ChatEvent::ToolArguments { .. }
            | ChatEvent::Stop { .. }
            | ChatEvent::Usage { .. }
            | ChatEvent::Done => {}
        }
    }
}

impl SignerName {
    /// Anthropic on whichever platform.
    pub const ANTHROPIC: &'static str = "anthropic";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::{Message, Role};

    fn signers() -> Arc<Signers> {
        Arc::new(Signers::new([
            (Dialect::Anthropic, SignerName::ANTHROPIC.into()),
            (Dialect::Responses, "openai".into()),
        ]))
    }

    fn settled(signature: Signature, to: (Dialect, &str)) -> Signature {
        let part = Part::Thinking {
            text: String::new(),
            signature: Some(signature),
        };
        let mut request = ChatRequest {
            messages: vec![Message {
                role: Role::Assistant,
                parts: vec![part],
            }],
            ..ChatRequest::default()
        };
        signers().settle(&mut request, (to.0, &to.1.into()));
        let part = request.messages.remove(0).parts.remove(0);
        let Part::Thinking { signature, .. } = part else {
            panic!("{part:?}");
        };
        signature.unwrap()
    }

    fn from(signer: &str, by: Dialect) -> Signature {
        let mut event = ChatEvent::Signed {
            signature: Signature::new(by, "c2ln"),
        };
        signers().stamp(signer.into()).event(&mut event);
        let ChatEvent::Signed { signature } = event else {
            panic!("{event:?}");
        };
        signature
    }

    #[test]
    fn a_signature_goes_round_by_every_client_to_its_signer_and_to_nobody_else() {
        for (by, signer, other) in [
            (Dialect::Anthropic, "anthropic", "copy"),
            (Dialect::Anthropic, "copy", "anthropic"),
            (Dialect::Responses, "openai", "azure"),
            (Dialect::Responses, "azure", "openai"),
            (Dialect::Openai, "openrouter", "mistral"),
            (Dialect::Gemini, "vertex", "gemini"),
        ] {
            for client in Dialect::ALL {
                let shown = from(signer, by).shown(client);
                let back = Signature::read(&shown, client);
                let own = settled(back.clone(), (by, signer));
                assert_eq!(own.written_by(by), Some("c2ln"), "{client:?}: {shown}");
                let foreign = settled(back, (by, other));
                assert_eq!(foreign.written_by(by), None, "{client:?}: {shown}");
            }
        }
    }

    #[test]
    fn only_who_is_at_home_in_the_client_s_dialect_goes_without_a_marker() {
        let shown = |signer, by: Dialect| from(signer, by).shown(by);
        assert_eq!(shown("anthropic", Dialect::Anthropic), "c2ln");
        assert_eq!(
            shown("copy", Dialect::Anthropic),
            "switchyard-signed~anthropic:copy~c2ln"
        );
        assert_eq!(
            from("anthropic", Dialect::Anthropic).shown(Dialect::Responses),
            "switchyard-signed~anthropic~c2ln"
        );
    }

    #[test]
    fn google_s_clients_get_and_send_base64_of_either_alphabet() {
        let signature = Signature::new(Dialect::Anthropic, "s?>~\u{fc}");
        let shown = signature.shown(Dialect::Gemini);
        let marked = STANDARD.decode(&shown).unwrap();
        let text = "switchyard-signed~anthropic~s?>~\u{fc}";
        assert_eq!(String::from_utf8(marked).unwrap(), text);
        let url_safe = shown.replace('+', "-").replace('/', "_");
        assert_ne!(url_safe, shown);
        for sent in [&*shown, &*url_safe, url_safe.trim_end_matches('='), text] {
            assert!(Signature::is_marked(sent), "{sent}");
            assert_eq!(Signature::read(sent, Dialect::Gemini), signature, "{sent}");
        }
    }

    #[test]
    fn anthropic_s_platforms_share_what_they_sign_but_not_what_they_redact() {
        let bedrock = from("anthropic", Dialect::Bedrock);
        assert_eq!(bedrock.shown(Dialect::Anthropic), "c2ln");
        let back = Signature::read("c2ln", Dialect::Anthropic);
        let there = settled(back, (Dialect::Bedrock, "anthropic"));
        assert_eq!(there.written_by(Dialect::Bedrock), Some("c2ln"));
        // A model of another maker on the same platform.
        let other = from("bedrock", Dialect::Bedrock);
        assert_eq!(other.by, Dialect::Bedrock);

        let mut event = ChatEvent::RedactedThinking {
            data: Signature::new(Dialect::Bedrock, "eA=="),
        };
        signers().stamp("anthropic".into()).event(&mut event);
        let ChatEvent::RedactedThinking { data } = event else {
            panic!("it stays one");
        };
        assert!(data.shown(Dialect::Anthropic).contains("bedrock"));
    }

    #[test]
    fn a_thought_that_nobody_signed_stays_what_it_is() {
        let blank = Signature::new(Dialect::Openai, "");
        assert_eq!(settled(blank.clone(), (Dialect::Openai, "deepseek")), blank);
    }

    #[test]
    fn what_is_no_marker_is_a_signature() {
        let broken = format!("{FOREIGN_IN_BASE64}*");
        for text in [
            "switchyard-signed~",
            "switchyard-signed~nobody~x",
            "c2ln",
            FOREIGN_IN_BASE64,
            &broken,
        ] {
            let read = Signature::read(text, Dialect::Gemini);
            assert_eq!(read, Signature::new(Dialect::Gemini, text));
        }
    }
}
