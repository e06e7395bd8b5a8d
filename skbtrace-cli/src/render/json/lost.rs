//! The lines of lost events.

use super::{
    Json,
    text::{number, put},
};
use crate::gap::Gap;

impl Json {
    /// Appends a gap's line.
    pub fn gap(&mut self, gap: &Gap, out: &mut Vec<u8>) {
        put("{\"type\":\"lost\",\"schema\":1,\"time\":", out);
        self.clock.push(gap.until_ns, out);
        put(",\"since_ns\":", out);
        number(gap.since_ns, out);
        put(",\"events\":", out);
        number(gap.events(), out);
        put(",\"cpus\":[", out);
        for (at, lost) in gap.lost.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            number(*lost, out);
        }
        put("]}\n", out);
    }
}
