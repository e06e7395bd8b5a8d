//! Any bytes as a kernel's description of its types, and a module's that continues it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skbtrace_cli::kernel::btf::Btf;
use skbtrace_fuzz::chunks;

const WANTED: &[&str] = &["sk_buff", "sock", "skb_drop_reason", "nf_hook_fn", "ip_rcv"];

fn ask(btf: &Btf<'_>) {
    for name in WANTED {
        let _ = btf.describes_structure(name);
        let _ = btf.structure_id(name);
        let _ = btf.own_function(name);
        let _ = btf.packet_argument(name);
        let _ = btf.constants(name).count();
        if let Some(id) = btf.function(name) {
            let _ = btf.arguments(id);
        }
        for path in ["mark", "cb", "__sk_common.skc_daddr", "a.b.c"] {
            let _ = btf.member(name, path);
        }
    }
    let _ = btf.takers().count();
    let _ = btf.hook_functions().count();
    for id in (0..64).chain([u32::MAX]) {
        let _ = btf.size(id);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut sections = chunks::split(bytes).into_iter().map(<[u8]>::to_vec);
    let Some(Ok(kernel)) = sections.next().map(|bytes| Btf::parse(bytes, None, WANTED)) else {
        return;
    };
    ask(&kernel);
    for section in sections {
        if let Ok(module) = Btf::parse(section, Some(&kernel), WANTED) {
            ask(&module);
        }
    }
});
