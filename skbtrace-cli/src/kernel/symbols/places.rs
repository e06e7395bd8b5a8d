//! Places: the address of each of some functions.
//!
//! A kernel before 6.2 looks for a name by spelling out its symbols one after the other, a hundred
//! thousand of them, three times for a kprobe (kernel/kallsyms.c, kallsyms_lookup_name; 60443c88f3a8
//! made it a binary search). Where many are to be attached, reading all of them once is the smaller
//! part, and a kprobe at an address needs no name.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

use rustc_hash::FxHashMap;

use super::KALLSYMS;

/// Where functions are.
#[derive(Debug)]
pub struct Places(FxHashMap<String, Place>);

/// Where a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is none of this name.
    Absent,
    /// At this address.
    At(u64),
    /// There are several, or the kernel does not tell where.
    Unclear,
}

impl Places {
    /// Looks names up in the running kernel; `None` where it does not show its symbols.
    pub fn read<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let kallsyms = BufReader::with_capacity(1 << 16, File::open(KALLSYMS).ok()?);
        Self::parse(names, kallsyms).ok()
    }

    fn parse<'a>(
        names: impl IntoIterator<Item = &'a str>,
        mut kallsyms: impl BufRead,
    ) -> io::Result<Self> {
        let names = names.into_iter().map(str::to_owned);
        let mut places: FxHashMap<_, _> = names.zip(std::iter::repeat(Place::Absent)).collect();
        let mut line = String::new();
        while kallsyms.read_line(&mut line)? != 0 {
            // address kind name [module]
            let mut words = line.split_ascii_whitespace();
            if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) =
                (words.next(), words.next(), words.next())
                && let Some(place) = places.get_mut(name)
            {
                let address = u64::from_str_radix(address, 16).unwrap_or(0);
                // Zeros are shown to those who may not know.
                *place = match *place {
                    Place::Absent if address != 0 => Place::At(address),
                    _ => Place::Unclear,
                };
            }
            line.clear();
        }
        Ok(Self(places))
    }

    /// Where the function of a name is.
    pub fn of(&self, name: &str) -> Place {
        self.0.get(name).copied().unwrap_or(Place::Unclear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KALLSYMS: &str = "\
ffffffff81000000 T _text
ffffffff819d1230 T ip_rcv
ffffffff819d1200 t ip_rcv_core.isra.0
ffffffff81a00000 t twice
ffffffffc0100000 t twice\t[bridge]
ffffffffc0123450 t br_handle_frame\t[bridge]
ffffffff82000000 D data
0000000000000000 T hidden
";

    #[test]
    fn one_place_each() {
        let names = ["ip_rcv", "br_handle_frame", "ip_rcv_core.isra.0"];
        let others = ["twice", "hidden", "data", "nowhere"];
        let names = names.into_iter().chain(others);
        let places = Places::parse(names, KALLSYMS.as_bytes()).expect("read");
        assert_eq!(places.of("ip_rcv"), Place::At(0xffff_ffff_819d_1230));
        assert_eq!(
            places.of("br_handle_frame"),
            Place::At(0xffff_ffff_c012_3450)
        );
        assert_eq!(
            places.of("ip_rcv_core.isra.0"),
            Place::At(0xffff_ffff_819d_1200)
        );
        assert_eq!(places.of("twice"), Place::Unclear);
        assert_eq!(places.of("hidden"), Place::Unclear);
        assert_eq!(places.of("data"), Place::Absent);
        assert_eq!(places.of("nowhere"), Place::Absent);
        // Not asked for.
        assert_eq!(places.of("_text"), Place::Unclear);
    }
}
