//! Symbols as the kernel prints them, as it hides them, and as it never would.

use std::{cell::RefCell, io::Cursor, rc::Rc};

use proptest::prelude::*;

use super::*;

const TEXT: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 T nf_hook_slow
ffffffff810002f0 t __pfx_ip_rcv
ffffffff81000300 T ip_rcv
ffffffff81000300 W alias_of_ip_rcv
ffffffff81000400 T _etext
ffffffff82000000 D some_data
ffffffffc0002100 t br_forward\t[bridge]
ffffffffc0002080 t br_handle_frame_finish\t[bridge]
ffffffffc0100f00 t veth_xmit\t[veth]
ffffffffc0200000 t bpf_prog_1234_a\t[bpf]
ffffffffc0203000 t bpf_prog_1234_b\t[bpf]
";

fn functions(text: &str) -> Functions {
    let mut functions = Functions::default();
    functions.read(&mut Cursor::new(text), false);
    functions
}

fn found(functions: &Functions, address: u64) -> Option<String> {
    functions.find(address).map(|symbol| {
        let module = symbol.module.map_or(String::new(), |m| format!(" [{m}]"));
        format!("{}+{:#x}{module}", symbol.function, symbol.offset)
    })
}

#[test]
fn an_address_is_in_the_function_that_starts_before_it() {
    let functions = functions(TEXT);
    let name = |address| found(&functions, address).unwrap_or_default();
    assert_eq!(name(0xffff_ffff_8100_019d), "nf_hook_slow+0x9d");
    assert_eq!(name(0xffff_ffff_8100_0100), "nf_hook_slow+0x0");
    // The first of two names.
    assert_eq!(name(0xffff_ffff_8100_0310), "ip_rcv+0x10");
    // Modules' functions stand in no order.
    assert_eq!(
        name(0xffff_ffff_c000_2092),
        "br_handle_frame_finish+0x12 [bridge]"
    );
    assert_eq!(name(0xffff_ffff_c000_2101), "br_forward+0x1 [bridge]");
}

/// What a module ran when it was loaded is gone, and another's code may be there.
#[test]
fn names_that_ftrace_kept_of_a_module_are_left_out() {
    let text = format!(
        "{TEXT}\
        ffffffffc0100000 T br_init\t[bridge]\n\
        ffffffffc0300000 T veth_init\t[veth]\n"
    );
    let functions = functions(&text);
    let name = |address| found(&functions, address).unwrap_or_default();
    assert_eq!(name(0xffff_ffff_c010_0f10), "veth_xmit+0x10 [veth]");
    assert_eq!(name(0xffff_ffff_c010_0010), "");
    assert_eq!(name(0xffff_ffff_c030_0010), "");
}

#[test]
fn what_lies_between_is_in_no_function() {
    let functions = functions(TEXT);
    for address in [
        0xffff_ffff_80ff_ffff,
        // Behind the end of the bridge, of veth, and of single programs.
        0xffff_ffff_c000_3000,
        0xffff_ffff_c010_1000,
        0xffff_ffff_c020_1000,
        u64::MAX,
    ] {
        assert_eq!(found(&functions, address), None, "{address:x}");
    }
}

#[test]
fn hidden_addresses_give_no_answer() {
    let hidden = "0000000000000000 T ip_rcv\n0000000000000000 t br_forward\t[bridge]\n";
    assert!(functions(hidden).is_empty());
}

/// Addresses over texts, the last of which stays, and how often they were read.
fn addresses(texts: &[&str], believed: Duration) -> (Addresses, Rc<Cell<usize>>) {
    let reads = Rc::new(Cell::new(0));
    let counted = Rc::clone(&reads);
    let texts = RefCell::new(
        texts
            .iter()
            .rev()
            .map(|t| (*t).to_owned())
            .collect::<Vec<_>>(),
    );
    let source = move || -> io::Result<Box<dyn BufRead>> {
        counted.set(counted.get() + 1);
        let mut texts = texts.borrow_mut();
        let text = if texts.len() > 1 {
            texts.pop()
        } else {
            texts.last().cloned()
        };
        Ok(Box::new(Cursor::new(text.unwrap_or_default())))
    };
    (Addresses::new(Box::new(source), believed), reads)
}

#[test]
fn nothing_is_read_before_the_first_address() {
    let (addresses, reads) = addresses(&[TEXT], BELIEVED);
    assert_eq!(addresses.find(0), None);
    assert_eq!(reads.get(), 0);
    assert!(addresses.find(0xffff_ffff_8100_0300).is_some());
    assert!(addresses.find(0xffff_ffff_8100_0301).is_some());
    assert_eq!(reads.get(), 1);
}

#[test]
fn a_module_that_comes_later_is_found_beside_the_others() {
    let later = format!("{TEXT}ffffffffc0300000 t nft_do_chain\t[nf_tables]\n");
    let (addresses, reads) = addresses(&[TEXT, &later], Duration::ZERO);
    let ip_rcv = addresses.find(0xffff_ffff_8100_0300).expect("known");
    let chain = addresses.find(0xffff_ffff_c030_0010).expect("loaded since");
    assert_eq!((chain.function, chain.offset), ("nft_do_chain", 0x10));
    assert_eq!(chain.module, Some("nf_tables"));
    assert_eq!((ip_rcv.function, ip_rcv.module), ("ip_rcv", None));
    assert_eq!(reads.get(), 2);
    assert!(addresses.find(0xffff_ffff_c030_0011).is_some());
    assert_eq!(reads.get(), 2, "what is known is not read again");
}

#[test]
fn an_answer_is_believed_for_a_while() {
    let (addresses, reads) = addresses(&[TEXT], Duration::from_secs(1 << 30));
    for _ in 0..3 {
        assert_eq!(addresses.find(0xffff_ffff_d000_0000), None);
    }
    assert_eq!(reads.get(), 1);
}

#[test]
fn hidden_addresses_are_not_asked_for_again() {
    let (addresses, reads) = addresses(&["0000000000000000 T ip_rcv\n"], Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(addresses.find(0xffff_ffff_8100_0300), None);
    }
    assert_eq!(reads.get(), 1);
}

proptest! {
    #[test]
    fn garbage_is_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..400), address: u64) {
        let mut functions = Functions::default();
        functions.read(&mut Cursor::new(bytes), false);
        let _ = functions.find(address);
    }

    /// Whatever the lines are, an answer is a function at or before the address.
    #[test]
    fn an_answer_fits(
        lines in proptest::collection::vec("[0-9a-f]{0,17} [tTdW] [a-z_]{0,5}(\t\\[[a-c]?\\])?", 0..20),
        near in any::<proptest::sample::Index>(),
        distance in 0..0x2000_u64,
    ) {
        let functions = functions(&lines.join("\n"));
        if !functions.all.is_empty() {
            let address = near.get(&functions.all).address.saturating_add(distance);
            if let Some(symbol) = functions.find(address) {
                let start = address - symbol.offset;
                prop_assert!(functions.all.iter().any(|function| function.address == start));
            }
        }
    }
}
