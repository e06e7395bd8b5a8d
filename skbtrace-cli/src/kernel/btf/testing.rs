//! BTF sections built by hand, for the tests of whatever reads them.

use super::{ENUM, ENUM64, FUNC_PROTO, INT};
pub(in crate::kernel) use super::{FUNC, PTR, STRUCT};

/// Puts a section together.
#[derive(Default)]
pub struct Builder {
    types: Vec<u8>,
    pub strings: Vec<u8>,
    base_strings: u32,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    pub fn split(base: &Self) -> Self {
        Self {
            base_strings: u32::try_from(base.strings.len()).expect("small"),
            ..Self::default()
        }
    }

    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.base_strings + u32::try_from(self.strings.len()).expect("small");
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    pub fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
    }

    pub fn simple(&mut self, kind: u32, name: &str, value: u32) {
        let name = self.string(name);
        self.words(&[name, kind << 24, value]);
    }

    pub fn int(&mut self, name: &str, size: u32) {
        self.simple(INT, name, size);
        self.words(&[size * 8]);
    }

    pub fn composite(&mut self, kind: u32, flag: bool, name: &str, members: &[(&str, u32, u32)]) {
        let name = self.string(name);
        let len = u32::try_from(members.len()).expect("few");
        self.words(&[name, u32::from(flag) << 31 | kind << 24 | len, 64]);
        for (member, type_id, offset) in members {
            let member = self.string(member);
            self.words(&[member, *type_id, *offset]);
        }
    }

    pub fn enumeration(&mut self, signed: bool, name: &str, constants: &[(&str, i64)]) {
        let name = self.string(name);
        let len = u32::try_from(constants.len()).expect("few");
        self.words(&[name, u32::from(signed) << 31 | ENUM << 24 | len, 4]);
        for (constant, value) in constants {
            let constant = self.string(constant);
            self.words(&[constant, halves(*value)[0]]);
        }
    }

    pub fn enumeration64(&mut self, name: &str, constants: &[(&str, i64)]) {
        let name = self.string(name);
        let len = u32::try_from(constants.len()).expect("few");
        self.words(&[name, ENUM64 << 24 | len, 8]);
        for (constant, value) in constants {
            let constant = self.string(constant);
            let [low, high] = halves(*value);
            self.words(&[constant, low, high]);
        }
    }

    pub fn prototype(&mut self, parameters: &[u32]) {
        self.prototype_returning(0, parameters);
    }

    pub fn prototype_returning(&mut self, returned: u32, parameters: &[u32]) {
        let len = u32::try_from(parameters.len()).expect("few");
        self.words(&[0, FUNC_PROTO << 24 | len, returned]);
        for parameter in parameters {
            self.words(&[0, *parameter]);
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let len = |part: &[u8]| u32::try_from(part.len()).expect("small").to_le_bytes();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        bytes.extend_from_slice(&24_u32.to_le_bytes());
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&len(&self.types));
        bytes.extend_from_slice(&len(&self.types));
        bytes.extend_from_slice(&len(&self.strings));
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// The lower and the upper 32 bits.
fn halves(value: i64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
}
