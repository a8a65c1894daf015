//! Which signatures of a conversation go to a target, and whose name those of its answer get.

use memchr::memmem;

use super::translation::Translation;
use crate::actors::Lease;
use crate::dialects::{Foreign, Home, cut_foreign};
use crate::domain::chat::{ChatRequest, FOREIGN_IN_BASE64, FOREIGN_SIGNATURE};
use crate::domain::{Dialect, Operation, Stamp};

impl Translation<'_> {
    /// Whether the conversation may have been elsewhere. A chat is not searched where its pools have nothing but
    /// providers of its own dialect: that would cost every request for the sake of few.
    fn may_be_foreign(&self) -> bool {
        self.dialect != Dialect::Openai || self.request.route.crosses
    }

    /// What another provider signed would be refused here.
    pub(super) fn foreign(&self, body: &[u8], lease: &Lease) -> Foreign {
        // What is counted is what would be asked.
        let operation = self.request.operation;
        let counted = operation == Operation::CountTokens;
        let conversation = counted || operation == Operation::Chat && self.is_plain();
        if !conversation || !self.may_be_foreign() {
            return Foreign::default();
        }
        let settings = &self.request.published.settings;
        let is_home = settings.signers.is_home(self.dialect, self.signer);
        let holds = |mark: &&str| memmem::find(body, mark.as_bytes()).is_some();
        if !signs_of_others(self.dialect, is_home).iter().any(holds) {
            return Foreign::default();
        }
        let provider = &lease.target().provider;
        let home = Home {
            model: lease.model().as_str(),
            google: provider.base_url.contains(".googleapis.com"),
            // Where nobody is known to write them, whoever is asked may have.
            details: provider.quirks.reasoning_details || !settings.tells_details(),
            signer: self.signer,
            signers: &settings.signers,
        };
        cut_foreign(self.request.speaks, body, home)
    }

    /// Tells what the provider signed from what others did.
    pub(super) fn settle(&self, asked: &mut ChatRequest) {
        let signers = &self.request.published.settings.signers;
        signers.settle(asked, (self.dialect, self.signer));
    }

    /// For what the provider signs.
    pub(super) fn stamp(&self) -> Stamp {
        let signers = &self.request.published.settings.signers;
        signers.stamp(self.signer.clone())
    }
}

/// What a request holds that was signed by another, or may have been where the provider is not the one at home.
fn signs_of_others(dialect: Dialect, is_home: bool) -> &'static [&'static str] {
    match (dialect, is_home) {
        // Fields that other gateways and Google's own form taught clients; OpenAI itself refuses them.
        (Dialect::Openai, _) => &[
            "\"thinking_blocks\"",
            "\"thought_signature\"",
            "\"reasoning_details\"",
        ],
        (Dialect::Anthropic, false) => {
            &[FOREIGN_SIGNATURE, "\"signature\"", "\"redacted_thinking\""]
        }
        (Dialect::Responses, false) => &[FOREIGN_SIGNATURE, "\"encrypted_content\""],
        (Dialect::Gemini, false) => &[
            FOREIGN_IN_BASE64,
            FOREIGN_SIGNATURE,
            "\"thoughtSignature\"",
            "\"thought_signature\"",
        ],
        (Dialect::Gemini, true) => &[FOREIGN_IN_BASE64, FOREIGN_SIGNATURE],
        (Dialect::Anthropic | Dialect::Responses, true)
        | (Dialect::Bedrock | Dialect::Cohere | Dialect::Ollama, _) => &[FOREIGN_SIGNATURE],
    }
}
