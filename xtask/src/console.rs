//! The command's output, cut out of what comes over its serial line.
//!
//! PID 1 frames the command's output by two marks that contain a number of this boot, so nothing
//! else can look like them, and a line without the second one has no verdict. Bytes are passed on
//! as they come; only what may be the beginning of a mark is held back.

/// What the line has told so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Booting,
    Running,
    /// The command ended with this exit code.
    Ended(u8),
}

pub struct Console {
    start: Vec<u8>,
    end: Vec<u8>,
    pending: Vec<u8>,
    progress: Progress,
}

impl Console {
    pub fn new(mark: &str) -> Self {
        Self {
            start: format!("{mark} start").into_bytes(),
            end: format!("{mark} end ").into_bytes(),
            pending: Vec::new(),
            progress: Progress::Booting,
        }
    }

    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Takes what came over the line and returns the part that is the command's output.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let mut output = Vec::new();
        if self.progress == Progress::Booting {
            self.skip_to_start();
        }
        if self.progress == Progress::Running {
            self.take_until_end(&mut output);
        }
        drop_returns(&mut output);
        output
    }

    fn skip_to_start(&mut self) {
        if let Some(at) = find(&self.pending, &self.start) {
            // The rest of the mark's line goes with it, so wait for its end.
            if let Some(line) = self.pending[at..].iter().position(|&byte| byte == b'\n') {
                self.pending.drain(..=at + line);
                self.progress = Progress::Running;
            }
        }
    }

    fn take_until_end(&mut self, output: &mut Vec<u8>) {
        match find(&self.pending, &self.end) {
            Some(at) => {
                output.extend(self.pending.drain(..at));
                let code = &self.pending[self.end.len()..];
                if let Some(stop) = code.iter().position(|&byte| byte == b'.') {
                    let code = String::from_utf8_lossy(&code[..stop])
                        .parse()
                        .unwrap_or(u8::MAX);
                    self.progress = Progress::Ended(code);
                }
            }
            None => {
                let mut held = held_back(&self.pending, &self.end);
                // A return is judged by what follows it.
                if held == 0 && self.pending.last() == Some(&b'\r') {
                    held = 1;
                }
                output.extend(self.pending.drain(..self.pending.len() - held));
            }
        }
    }
}

/// How many last bytes of `text` could be the beginning of `mark`.
fn held_back(text: &[u8], mark: &[u8]) -> usize {
    (0..=mark.len().min(text.len()))
        .rev()
        .find(|&len| mark.starts_with(&text[text.len() - len..]))
        .unwrap_or(0)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The guest's terminal ends lines by two characters, ours adds the first one again if it is one.
fn drop_returns(text: &mut Vec<u8>) {
    let mut kept = Vec::with_capacity(text.len());
    for (at, &byte) in text.iter().enumerate() {
        if byte != b'\r' || text.get(at + 1) != Some(&b'\n') {
            kept.push(byte);
        }
    }
    *text = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"\x1bcSeaBIOS\r\nMARK7 start\r\none\r\nMARK\r\ntwoMARK7 end 3.\r\nrest";

    /// Whatever the pieces that the bytes come in, the output is the same.
    #[test]
    fn output_stands_between_the_marks() {
        for size in 1..LINE.len() {
            let mut console = Console::new("MARK7");
            let output: Vec<u8> = LINE
                .chunks(size)
                .flat_map(|piece| console.feed(piece))
                .collect();
            assert_eq!(
                String::from_utf8_lossy(&output),
                "one\nMARK\ntwo",
                "pieces of {size}"
            );
            assert_eq!(console.progress(), Progress::Ended(3));
        }
    }

    #[test]
    fn a_prompt_comes_at_once() {
        let mut console = Console::new("MARK7");
        assert_eq!(console.feed(b"MARK7 start\r\n# "), b"# ");
        assert_eq!(console.feed(b"ls\r\n"), b"ls\n");
        assert_eq!(console.progress(), Progress::Running);
    }
}
