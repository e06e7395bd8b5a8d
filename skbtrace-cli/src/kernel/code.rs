//! Code ranges: which module an address belongs to.
//!
//! `/proc/modules` gives where each module's code starts. A return address is code of the module
//! that starts nearest below it, since no other module's code lies in between. Where the bridge
//! is built in, its functions are found by name in `/proc/kallsyms`, which is read only then.

use std::fs;

const MODULES: &str = "/proc/modules";
const KALLSYMS: &str = "/proc/kallsyms";

/// Where the bridge's code is.
#[derive(Debug, Default)]
pub struct BridgeCode {
    /// Ranges `[start, end)`, sorted.
    ranges: Vec<(u64, u64)>,
}

impl BridgeCode {
    /// As the kernel has it now: of the module, or `with_symbols` of a bridge that is built in.
    /// Empty when there is none, or addresses are hidden.
    pub fn read(with_symbols: bool) -> Self {
        let modules = fs::read_to_string(MODULES).unwrap_or_default();
        let built_in = || {
            let symbols = with_symbols.then(|| fs::read_to_string(KALLSYMS).ok());
            Self::of_symbols(&symbols??)
        };
        Self::of_module(&modules)
            .or_else(built_in)
            .unwrap_or_default()
    }

    /// Whether an address lies in it.
    pub fn contains(&self, address: u64) -> bool {
        let after = self.ranges.partition_point(|(start, _)| *start <= address);
        after > 0 && address < self.ranges[after - 1].1
    }

    /// From the text of `/proc/modules`.
    fn of_module(text: &str) -> Option<Self> {
        let mut bridge = None;
        let mut starts = Vec::new();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(name), Some(size)) = (words.next(), words.next()) else {
                continue;
            };
            let address = words
                .find_map(|word| word.strip_prefix("0x"))
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())?;
            starts.push(address);
            if name == "bridge" {
                bridge = Some((address, size.parse::<u64>().ok()?));
            }
        }
        let (start, size) = bridge.filter(|(start, _)| *start != 0)?;
        // The size counts data too, which since 6.4 lies elsewhere: code ends where the next
        // module starts at the latest.
        let next = starts.into_iter().filter(|other| *other > start).min();
        let end = next.map_or(start + size, |next| next.min(start + size));
        Some(Self {
            ranges: vec![(start, end)],
        })
    }

    /// From the text of `/proc/kallsyms`: the functions of a bridge that is built in.
    fn of_symbols(text: &str) -> Option<Self> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut open = false;
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            let (kind, name) = (words.next()?, words.next()?);
            if !matches!(kind, "t" | "T") || words.next().is_some() {
                continue;
            }
            if open && let Some(last) = ranges.last_mut() {
                last.1 = address;
            }
            open = address != 0 && is_bridge_function(name);
            if open {
                ranges.push((address, address));
            }
        }
        ranges.retain(|(start, end)| start < end);
        ranges.sort_unstable();
        (!ranges.is_empty()).then_some(Self { ranges })
    }
}

/// Functions of net/bridge that call skb_clone, as compilers leave them (all versions).
fn is_bridge_function(name: &str) -> bool {
    let name = name.split('.').next().unwrap_or(name);
    name.starts_with("br_") || matches!(name, "__br_forward" | "maybe_deliver" | "deliver_clone")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: &str = "\
br_netfilter 36864 0 - Live 0xffffffffc0b12000
bridge 311296 1 br_netfilter, Live 0xffffffffc0a00000
veth 36864 0 - Live 0xffffffffc0900000
";

    #[test]
    fn bridge_code_ends_where_the_next_module_starts() {
        let code = BridgeCode::of_module(MODULES).expect("a bridge");
        assert!(code.contains(0xffff_ffff_c0a0_0000));
        assert!(code.contains(0xffff_ffff_c0a1_2345));
        assert!(!code.contains(0xffff_ffff_c09f_ffff));
        assert!(!code.contains(0xffff_ffff_c0b1_2000));
    }

    #[test]
    fn hidden_addresses_are_no_code() {
        assert!(BridgeCode::of_module("bridge 311296 1 - Live 0x0000000000000000\n").is_none());
    }

    #[test]
    fn a_bridge_that_is_built_in_is_found_by_its_functions() {
        let symbols = "\
ffffffff81000000 T start
ffffffff81a00000 t br_forward
ffffffff81a00100 t maybe_deliver
ffffffff81a00200 T other
ffffffffc0000000 t br_elsewhere\t[some]
";
        let code = BridgeCode::of_symbols(symbols).expect("functions");
        assert!(code.contains(0xffff_ffff_81a0_0080));
        assert!(code.contains(0xffff_ffff_81a0_01ff));
        assert!(!code.contains(0xffff_ffff_81a0_0200));
        assert!(!code.contains(0xffff_ffff_c000_0000));
    }
}
