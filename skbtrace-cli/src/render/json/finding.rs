//! The lines of findings.

use super::{
    Json,
    text::{optional_number, put, string},
};
use crate::{
    decode::Names,
    diagnosis::{Finding, Told},
    event::Event,
};

impl Json {
    /// Appends a finding's line, with the events that show it.
    pub fn finding(
        &mut self,
        finding: &Finding,
        packet: Option<u64>,
        events: &[Event<'_>],
        names: &dyn Names,
        out: &mut Vec<u8>,
    ) {
        put("{\"type\":\"finding\",\"schema\":1,\"rule\":", out);
        string(finding.rule.as_bytes(), out);
        put(",\"confidence\":", out);
        string(finding.confidence.word().as_bytes(), out);
        put(",\"sentence\":", out);
        string(finding.sentence.as_bytes(), out);
        put(",\"check\":", out);
        string(finding.check.as_bytes(), out);
        put(",\"packet_id\":", out);
        optional_number(packet, out);
        put(",\"evidence\":[", out);
        for (at, event) in events.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            self.line(event, names, out);
            out.truncate(out.trim_ascii_end().len());
        }
        put("]}\n", out);
    }

    /// Appends how many packets showed a cause.
    pub fn finding_count(told: &Told, out: &mut Vec<u8>) {
        put("{\"type\":\"finding_count\",\"schema\":1,\"rule\":", out);
        string(told.rule.as_bytes(), out);
        put(",\"confidence\":", out);
        string(told.confidence.word().as_bytes(), out);
        put(",\"sentence\":", out);
        string(told.sentence.as_bytes(), out);
        put(",\"packets\":", out);
        optional_number(Some(told.packets), out);
        put("}\n", out);
    }
}
