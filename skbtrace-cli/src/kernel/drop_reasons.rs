//! Drop reasons: what this kernel calls the numbers it gives for dropped packets.
//!
//! The numbers are no part of any interface: between 6.1 and 6.12 most of them moved. So their
//! names are taken from BTF, where the enums of the running kernel are. Since 6.4 the upper 16
//! bits name a subsystem, whose reasons are in an enum of its own, often a module's
//! (include/net/dropreason.h). Before 5.17 the kernel gives no reasons.
//!
//! **Invariant:** a name is what this kernel's BTF says, or there is none.

use std::collections::HashMap;

use super::btf::Btf;

/// The kernel's own reasons (include/net/dropreason-core.h; up to 6.1 include/net/dropreason.h,
/// and before include/linux/skbuff.h).
const CORE: &str = "skb_drop_reason";
/// The subsystems that have reasons of their own, since 6.4 (include/net/dropreason.h).
const SUBSYSTEMS: &str = "skb_drop_reason_subsys";
/// The subsystems' reasons.
const OF_SUBSYSTEMS: [&str; 4] = [
    // net/openvswitch/drop.h, since 6.6.
    "ovs_drop_reason",
    // In 7.2.
    "qdisc_drop_reason",
    // net/mac80211/drop.h, since 6.4: twice the same names, of which BTF may have either.
    "mac80211_drop_reason",
    "___mac80211_drop_reason",
];
/// Modules that have such an enum.
pub const MODULES: [&str; 2] = ["openvswitch", "mac80211"];

const CORE_PREFIX: &str = "SKB_DROP_REASON_";
const SUBSYSTEM_PREFIX: &str = "SKB_DROP_REASON_SUBSYS_";

/// The reasons of one kernel.
#[derive(Clone, Debug, Default)]
pub struct DropReasons {
    /// Names by number.
    names: HashMap<u32, String>,
    /// Names of subsystems by the upper half of their numbers.
    subsystems: HashMap<u16, String>,
}

impl DropReasons {
    /// The enums to be found when BTF is parsed.
    pub fn wanted() -> impl Iterator<Item = &'static str> {
        [CORE, SUBSYSTEMS].into_iter().chain(OF_SUBSYSTEMS)
    }

    /// Adds what a section describes.
    pub fn take(&mut self, btf: &Btf<'_>) {
        for (name, number) in constants(btf, CORE) {
            let name = name.strip_prefix(CORE_PREFIX).unwrap_or(name);
            self.names.entry(number).or_insert_with(|| name.to_owned());
        }
        for (name, number) in constants(btf, SUBSYSTEMS) {
            if let (Some(name), Ok(number)) =
                (name.strip_prefix(SUBSYSTEM_PREFIX), u16::try_from(number))
                // The kernel's own reasons, and how many subsystems there are.
                && !matches!(name, "CORE" | "NUM")
            {
                self.subsystems
                    .entry(number)
                    .or_insert_with(|| name.to_owned());
            }
        }
        for (name, number) in OF_SUBSYSTEMS.iter().flat_map(|name| constants(btf, name)) {
            // These enums also repeat constants of the kernel's own.
            if subsystem(number) != 0 {
                let name = name.trim_start_matches('_');
                self.names.entry(number).or_insert_with(|| name.to_owned());
            }
        }
    }

    /// Whether this kernel has no reasons, or nobody asked for them.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A reason's name: `NETFILTER_DROP`, `OVS_DROP_METER`.
    pub fn name(&self, number: u32) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }

    /// A reason's number.
    pub fn number(&self, name: &str) -> Option<u32> {
        let mut names = self.names.iter();
        names.find_map(|(number, own)| (own == name).then_some(*number))
    }

    /// Name of the subsystem that a reason is of, like `OPENVSWITCH`; none for the kernel's own.
    pub fn subsystem(&self, number: u32) -> Option<&str> {
        self.subsystems.get(&subsystem(number)).map(String::as_str)
    }
}

/// An enum's constants, without those that bound the others or select bits.
fn constants<'b>(btf: &'b Btf<'_>, name: &str) -> impl Iterator<Item = (&'b str, u32)> {
    btf.constants(name).filter_map(|(name, value)| {
        let name = str::from_utf8(name).ok()?;
        let is_bound = name.ends_with("_MAX")
            || name.ends_with("_MASK")
            || name.starts_with("__") && name.ends_with("_REASON");
        let number = u32::try_from(value).ok()?;
        (!is_bound && !name.is_empty()).then_some((name, number))
    })
}

/// The upper half of a number (`SKB_DROP_REASON_SUBSYS_SHIFT`); 0 for the kernel's own reasons.
fn subsystem(number: u32) -> u16 {
    u16::try_from(number >> 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{super::btf::testing::Builder, *};

    /// Some of 6.12's constants.
    fn kernel() -> Builder {
        let mut builder = Builder::new();
        builder.enumeration(
            true,
            CORE,
            &[
                ("SKB_NOT_DROPPED_YET", 0),
                ("SKB_CONSUMED", 1),
                ("SKB_DROP_REASON_NOT_SPECIFIED", 2),
                ("SKB_DROP_REASON_NO_SOCKET", 3),
                ("SKB_DROP_REASON_NETFILTER_DROP", 11),
                ("SKB_DROP_REASON_MAX", 100),
                ("SKB_DROP_REASON_SUBSYS_MASK", -65536),
            ],
        );
        builder.enumeration(
            false,
            SUBSYSTEMS,
            &[
                ("SKB_DROP_REASON_SUBSYS_CORE", 0),
                ("SKB_DROP_REASON_SUBSYS_MAC80211_UNUSABLE", 1),
                ("SKB_DROP_REASON_SUBSYS_OPENVSWITCH", 3),
                ("SKB_DROP_REASON_SUBSYS_NUM", 4),
            ],
        );
        builder
    }

    fn reasons(builder: &Builder) -> DropReasons {
        let wanted: Vec<_> = DropReasons::wanted().collect();
        let btf = Btf::parse(builder.bytes(), None, &wanted).expect("sound BTF");
        let mut reasons = DropReasons::default();
        reasons.take(&btf);
        reasons
    }

    #[test]
    fn the_kernels_own_reasons() {
        let reasons = reasons(&kernel());
        assert_eq!(reasons.name(11), Some("NETFILTER_DROP"));
        assert_eq!(reasons.name(2), Some("NOT_SPECIFIED"));
        assert_eq!(reasons.name(1), Some("SKB_CONSUMED"));
        // What bounds the numbers is none of them.
        assert_eq!(reasons.name(100), None);
        assert_eq!(reasons.name(0xffff_0000), None);
        assert_eq!(reasons.name(1234), None);
    }

    #[test]
    fn numbers_are_this_kernels() {
        let mut builder = Builder::new();
        // 6.1: no subsystems, other numbers.
        let older = [("SKB_DROP_REASON_NETFILTER_DROP", 7)];
        builder.enumeration(false, CORE, &older);
        let reasons = reasons(&builder);
        assert_eq!(reasons.name(7), Some("NETFILTER_DROP"));
        assert_eq!(reasons.name(11), None);
        assert_eq!(reasons.subsystem(0x3_0001), None);
    }

    #[test]
    fn a_subsystems_reasons_are_its_own() {
        let mut builder = kernel();
        builder.enumeration(
            false,
            "qdisc_drop_reason",
            &[
                ("QDISC_DROP_UNSPEC", 0),
                ("__QDISC_DROP_REASON", 0x4_0000),
                ("QDISC_DROP_OVERLIMIT", 0x4_0002),
            ],
        );
        let unusable = [("___RX_CONTINUE", 1), ("___RX_DROP_U_REPLAY", 0x1_0002)];
        builder.enumeration(false, "___mac80211_drop_reason", &unusable);
        let reasons = reasons(&builder);
        assert_eq!(reasons.name(0x4_0002), Some("QDISC_DROP_OVERLIMIT"));
        assert_eq!(reasons.name(0x4_0000), None);
        assert_eq!(reasons.name(0), Some("SKB_NOT_DROPPED_YET"));
        assert_eq!(reasons.name(1), Some("SKB_CONSUMED"));
        assert_eq!(reasons.name(0x1_0002), Some("RX_DROP_U_REPLAY"));
        assert_eq!(reasons.subsystem(0x3_0009), Some("OPENVSWITCH"));
        assert_eq!(reasons.subsystem(0x4_0002), None);
        assert_eq!(reasons.subsystem(1234), None);
    }

    #[test]
    fn a_modules_reasons_join_the_kernels() {
        let builder = kernel();
        let wanted: Vec<_> = DropReasons::wanted().collect();
        let base = Btf::parse(builder.bytes(), None, &wanted).expect("sound BTF");
        let mut module = Builder::split(&builder);
        let ovs = [
            ("__OVS_DROP_REASON", 0x3_0000),
            ("OVS_DROP_METER", 0x3_0005),
            ("OVS_DROP_MAX", 0x3_000c),
        ];
        module.enumeration(false, "ovs_drop_reason", &ovs);
        let module = Btf::parse(module.bytes(), Some(&base), &wanted).expect("sound BTF");
        let mut reasons = DropReasons::default();
        reasons.take(&base);
        reasons.take(&module);
        assert_eq!(reasons.name(0x3_0005), Some("OVS_DROP_METER"));
        assert_eq!(reasons.name(0x3_0000), None);
        assert_eq!(reasons.name(0x3_000c), None);
        assert_eq!(reasons.name(3), Some("NO_SOCKET"));
    }

    #[test]
    fn a_kernel_without_reasons_has_none() {
        let mut builder = Builder::new();
        builder.int("unsigned int", 4);
        let reasons = reasons(&builder);
        assert_eq!((reasons.name(0), reasons.subsystem(0)), (None, None));
    }
}
