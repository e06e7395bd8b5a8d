//! Specialising: a program without the code that this run, or this function, does not need.
//!
//! One image serves every filter, every way to attach and every kernel, so most of it is dead once
//! the constants are in place, and what is left was laid out for code that is gone: values wait on
//! the stack, constants in registers, jumps lead to jumps. The verifier would find the dead code
//! too, but it copies, checks and patches the whole image first, once for each hook, and it
//! improves nothing. Here a program is taken apart ([`code`]), what is known of its values is
//! followed ([`value`], [`flow`]), operations are replaced by cheaper ones ([`rewrite`]), what is computed for
//! nobody goes ([`liveness`]), and blocks are put in order ([`order`]).
//!
//! **Invariant:** the result does what the program does, and gives the verifier no less to go by:
//! values are only taken from where they were made. What is not understood is kept; a program with
//! an instruction of an unknown kind is returned as it is.

mod code;
mod flow;
mod frame;
mod liveness;
mod order;
mod rewrite;
mod state;
mod value;

use aya_obj::generated::bpf_insn;

use self::{code::Op, flow::Flow};

/// A round that leaves out less than one operation in so many is the last. Each finds what the last
/// one made possible, and it costs as much as the one before.
const WORTHWHILE: usize = 32;

/// Removes what can never run and what computes for nobody. `unknown` says which 64-bit immediates
/// are placeholders, about which nothing may be assumed.
pub fn specialise(program: &[bpf_insn], unknown: impl Fn(u64) -> bool) -> Vec<bpf_insn> {
    code::read(program, unknown)
        .and_then(improve)
        .and_then(|ops| code::write(&ops))
        .unwrap_or_else(|| program.to_vec())
}

fn improve(mut ops: Vec<Op>) -> Option<Vec<Op>> {
    loop {
        let before = ops.len();
        let flow = Flow::of(&ops)?;
        let effects = rewrite::rewrite(&mut ops, &flow);
        liveness::remove_unwanted(&mut ops, &effects);
        ops = order::order(&ops);
        if ops.len() + before.div_ceil(WORTHWHILE) > before {
            return Some(ops);
        }
    }
}

#[cfg(test)]
mod tests;
