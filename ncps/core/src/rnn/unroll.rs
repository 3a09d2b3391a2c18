//! The plain recurrence: one step after the other in MLX operations.

use mlx_rs::{Array, ops};

use super::State;
use super::input::Sequence;
use crate::array::{Mlx, swap_batch_and_time, time_steps};
use crate::cell::{Advance, LstmRun};

/// What a recurrence leaves behind.
#[derive(Debug)]
pub(crate) struct Unrolled {
    /// Hidden states [B, T, U], or of the last step [B, U].
    pub(crate) hidden: Array,
    /// State after the last step.
    pub(crate) state: State,
}

/// Runs a cell over all steps, behind an LSTM memory where there is one.
///
/// A masked step leaves hidden state and memory as they are, so that the last step's state is that
/// of the last real step.
pub(crate) fn unroll(
    cell: &dyn Advance,
    memory: Option<&LstmRun>,
    sequence: &Sequence,
    every_step: bool,
) -> Mlx<Unrolled> {
    let keep = keep_steps(sequence)?;
    let mut state = sequence.state.clone();
    let steps = usize::try_from(sequence.time).unwrap_or(0);
    let mut hidden = Vec::with_capacity(if every_step { steps } else { 0 });
    for t in 0..steps {
        let next = advance(cell, memory, t, &state)?;
        state = match &keep {
            Some(keep) => choose(&keep[t], next, &state)?,
            None => next,
        };
        if every_step {
            hidden.push(state.hidden.clone());
        }
    }
    let hidden = if every_step {
        ops::stack(&hidden, 1)?
    } else {
        state.hidden.clone()
    };
    Ok(Unrolled { hidden, state })
}

fn advance(cell: &dyn Advance, memory: Option<&LstmRun>, t: usize, state: &State) -> Mlx<State> {
    let (Some(lstm), Some(memory)) = (memory, &state.memory) else {
        let hidden = cell.advance(t, &state.hidden)?;
        return Ok(State::new(hidden));
    };
    let (hidden, memory) = lstm.advance(t, &state.hidden, memory)?;
    Ok(State {
        hidden: cell.advance(t, &hidden)?,
        memory: Some(memory),
    })
}

/// For each step a column [B, 1] of truth values.
fn keep_steps(sequence: &Sequence) -> Mlx<Option<Vec<Array>>> {
    let Some(mask) = &sequence.mask else {
        return Ok(None);
    };
    let columns = swap_batch_and_time(&mask.expand_dims(-1)?)?;
    time_steps(&columns).map(Some)
}

fn choose(keep: &Array, next: State, old: &State) -> Mlx<State> {
    let memory = match (next.memory, &old.memory) {
        (Some(next), Some(old)) => Some(ops::select(keep, next, old)?),
        (next, _) => next,
    };
    Ok(State {
        hidden: ops::select(keep, next.hidden, &old.hidden)?,
        memory,
    })
}
