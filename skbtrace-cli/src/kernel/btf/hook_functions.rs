//! Which functions a netfilter hook may call: those of the type `nf_hookfn`.

use super::{Btf, FUNC, FUNC_PROTO, INT, PTR, STRUCT, word};

impl Btf<'_> {
    /// Names of the functions that this very section describes and that are as a hook's functions
    /// have to be: `unsigned int f(void *, struct sk_buff *, const struct nf_hook_state *)`.
    pub fn hook_functions(&self) -> impl Iterator<Item = &str> {
        let own = self.first_id..self.end_id();
        own.filter_map(|id| {
            let function = self.get(id).filter(|function| function.kind == FUNC)?;
            let prototype = self.get(function.value)?;
            if prototype.kind != FUNC_PROTO || prototype.len != 3 {
                return None;
            }
            let returned = self.get(self.strip(prototype.value)?)?;
            let source = self.source(function.value)?;
            // An argument's target; 0 is void.
            let target = |nth: usize| {
                let argument = word(source, prototype.at + 12 + nth * 8 + 4).ok()?;
                let pointer = self.get(self.strip(argument)?)?;
                (pointer.kind == PTR).then_some(pointer.value)
            };
            let is_structure = |nth: usize, name: &[u8]| {
                let target = target(nth).and_then(|id| self.get(self.strip(id)?));
                target.is_some_and(|t| t.kind == STRUCT && self.name(t.name) == Some(name))
            };
            let fits = returned.kind == INT
                && target(0) == Some(0)
                && is_structure(1, b"sk_buff")
                && is_structure(2, b"nf_hook_state");
            // No symbol is anything but text.
            str::from_utf8(self.name(function.name).filter(|_| fits)?).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{Builder, FUNC, PTR, STRUCT},
        Btf,
    };

    /// Numbers 1 to 6: an integer, the two structures, and pointers to nothing and to them.
    fn kernel() -> Builder {
        let mut b = Builder::new();
        b.int("unsigned int", 4); // 1
        b.composite(STRUCT, false, "sk_buff", &[("len", 1, 0)]); // 2
        b.composite(STRUCT, false, "nf_hook_state", &[("hook", 1, 0)]); // 3
        b.simple(PTR, "", 0); // 4
        b.simple(PTR, "", 2); // 5
        b.simple(PTR, "", 3); // 6
        b
    }

    fn found(b: &Builder) -> Vec<String> {
        let btf = Btf::parse(b.bytes(), None, &[]).expect("sound BTF");
        btf.hook_functions().map(str::to_owned).collect()
    }

    #[test]
    fn the_type_decides() {
        let mut b = kernel();
        for (name, arguments, returned) in [
            ("a_hook", &[4, 5, 6][..], 1),
            ("returns_nothing", &[4, 5, 6], 0),
            ("in_another_order", &[5, 4, 6], 1),
            ("of_the_packet_first", &[5, 5, 6], 1),
            ("without_state", &[4, 5], 1),
            ("with_a_fourth", &[4, 5, 6, 4], 1),
        ] {
            b.prototype_returning(returned, arguments);
            b.simple(FUNC, name, prototype_number(&b));
        }
        assert_eq!(found(&b), ["a_hook"]);
    }

    /// Number of the last type.
    fn prototype_number(b: &Builder) -> u32 {
        let btf = Btf::parse(b.bytes(), None, &[]).expect("sound BTF");
        btf.end_id() - 1
    }

    #[test]
    fn a_module_adds_to_its_kernel() {
        let base = kernel();
        let mut module = Builder::split(&base);
        module.prototype_returning(1, &[4, 5, 6]); // 7
        module.simple(FUNC, "in_module", 7);
        let base = Btf::parse(base.bytes(), None, &[]).expect("sound BTF");
        let module = Btf::parse(module.bytes(), Some(&base), &[]).expect("sound BTF");
        assert_eq!(base.hook_functions().count(), 0);
        assert_eq!(module.hook_functions().collect::<Vec<_>>(), ["in_module"]);
    }
}
