//! The order of a program's blocks: what follows on something stands behind it.

use super::code::Op;
use super::flow::leaders;

/// Puts blocks so that as few jumps as possible are left, and leaves out what is nothing.
pub fn order(ops: &[Op]) -> Vec<Op> {
    let mut order = Order {
        ops,
        leaders: leaders(ops),
        places: vec![None; ops.len()],
        result: Vec::with_capacity(ops.len()),
    };
    let mut functions = vec![0];
    let calls = ops.iter().filter_map(|op| match op {
        Op::CallFunction { there } => Some(*there),
        _ => None,
    });
    functions.extend(calls);
    for function in functions {
        order.function(function);
    }
    order.resolve()
}

struct Order<'a> {
    ops: &'a [Op],
    leaders: Vec<bool>,
    /// Where each block went.
    places: Vec<Option<usize>>,
    result: Vec<Op>,
}

impl Order<'_> {
    /// Where a jump to a place ends, over jumps and nothing.
    fn end(&self, mut at: usize) -> usize {
        // No further than there are operations: jumps may go round in circles.
        for _ in 0..self.ops.len() {
            at = match self.ops[at] {
                Op::Nothing => at + 1,
                Op::Jump { there } => there,
                _ => break,
            };
        }
        at
    }

    fn function(&mut self, start: usize) {
        let mut waiting = vec![start];
        while let Some(at) = waiting.pop() {
            self.block(self.end(at), &mut waiting);
        }
    }

    /// Places a block and what follows on it, until there is something that has its place.
    fn block(&mut self, start: usize, waiting: &mut Vec<usize>) {
        let mut at = start;
        if self.places[at].is_some() {
            return;
        }
        self.places[at] = Some(self.result.len());
        loop {
            let op = self.ops[at];
            let next = match op {
                Op::Nothing => at + 1,
                Op::Jump { there } => self.end(there),
                Op::Exit => {
                    self.result.push(op);
                    return;
                }
                Op::Branch { there, .. } if self.end(there) == self.end(at + 1) => self.end(there),
                Op::Branch { there, .. } => {
                    waiting.push(there);
                    self.result.push(op);
                    self.end(at + 1)
                }
                _ => {
                    self.result.push(op);
                    at + 1
                }
            };
            let goes_on = next == at + 1 && !self.leaders[next];
            at = if goes_on { next } else { self.end(next) };
            if goes_on {
                continue;
            }
            if self.places[at].is_some() {
                self.result.push(Op::Jump { there: at });
                return;
            }
            self.places[at] = Some(self.result.len());
        }
    }

    /// Lets jumps lead to where blocks have gone.
    fn resolve(self) -> Vec<Op> {
        let place = |there: usize| self.places[self.end(there)].unwrap_or_default();
        self.result
            .iter()
            .map(|op| match *op {
                Op::Jump { there } => Op::Jump {
                    there: place(there),
                },
                Op::Branch {
                    wide,
                    operation,
                    first,
                    second,
                    there,
                } => Op::Branch {
                    wide,
                    operation,
                    first,
                    second,
                    there: place(there),
                },
                Op::CallFunction { there } => Op::CallFunction {
                    there: place(there),
                },
                op => op,
            })
            .collect()
    }
}
