//! Policies against the sequence kernels, and what they allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use mlx_rs::{Array, random};

use crate::kernel::{Policy, SequenceSpec};
use crate::rnn::{CfcConfig, GruConfig, LstmConfig, LtcConfig, SequenceInput, SequenceLayer};
use crate::wiring::AutoNcp;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) };
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn layers() -> Vec<(&'static str, Box<dyn SequenceLayer>)> {
    let mut dense = CfcConfig::new(3, 9);
    dense.projection = Some(2);
    let mut mixed = CfcConfig::new(3, AutoNcp::new(12, 2));
    mixed.mixed_memory = true;
    vec![
        ("cfc", Box::new(dense.build(1).unwrap())),
        ("cfc mixed", Box::new(mixed.build(2).unwrap())),
        (
            "ltc",
            Box::new(LtcConfig::new(3, AutoNcp::new(12, 2)).build(3).unwrap()),
        ),
        ("lstm", Box::new(LstmConfig::new(3, 5).build(4).unwrap())),
    ]
}

#[test]
fn steps_of_a_policy_are_those_of_the_sequence() {
    let (time, features) = (9, 3);
    let key = random::key(1).unwrap();
    let x = random::normal::<f32>(&[1, time, features][..], None, None, Some(&key)).unwrap();
    let spans: Vec<f32> = (0..time).map(|t| 0.2 * t as f32).collect();
    let timespans = Array::from_slice(&spans, &[time]);
    for (name, layer) in layers() {
        let result = layer
            .sequence(&SequenceInput::new(&x).timespans(timespans.clone()))
            .unwrap();
        let expected = result.outputs.as_slice::<f32>().to_vec();
        let mut policy = layer.policy().unwrap();
        assert_eq!(policy.outputs(), layer.outputs());
        for run in 0..2 {
            policy.reset();
            for (t, x) in x.as_slice::<f32>().chunks_exact(3).enumerate() {
                let y = policy.step(x, spans[t]).unwrap();
                for (a, b) in y.iter().zip(&expected[t * y.len()..]) {
                    assert!((a - b).abs() < 2e-6, "{name} run {run} step {t}: {a} {b}");
                }
            }
        }
        let (mut hidden, mut memory) = (vec![0.0; policy.units()], vec![0.0; policy.units()]);
        policy.state(&mut hidden, &mut memory);
        let last = result.state.hidden.as_slice::<f32>().to_vec();
        assert!(
            hidden.iter().zip(&last).all(|(a, b)| (a - b).abs() < 2e-6),
            "{name}"
        );
        let memory_len = if layer.has_memory() {
            policy.units()
        } else {
            0
        };
        policy.set_state(&hidden, &memory[..memory_len]).unwrap();
    }
}

#[test]
fn a_step_allocates_nothing_and_works_on_another_thread() {
    for (name, layer) in layers() {
        let mut policy = layer.policy().unwrap();
        let count = std::thread::spawn(move || {
            policy.step(&[0.1, 0.2, 0.3], 1.0).unwrap();
            let before = ALLOCATIONS.with(Cell::get);
            for _ in 0..10 {
                policy.step(&[0.1, 0.2, 0.3], 1.0).unwrap();
            }
            ALLOCATIONS.with(Cell::get) - before
        });
        assert_eq!(count.join().unwrap(), 0, "{name}");
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let layer = CfcConfig::new(3, 9).build(1).unwrap();
    let mut policy = layer.policy().unwrap();
    let message = policy.step(&[1.0], 1.0).unwrap_err().to_string();
    assert!(
        message.contains("`x` is 1, expected 3 features"),
        "{message}"
    );
    assert!(policy.set_state(&[0.0; 4], &[]).is_err());
    assert!(policy.then_linear(&[0.0; 5], &[0.0; 2]).is_err());
    assert!(Policy::new(SequenceSpec::lstm(2, 3), &[]).is_err());
    assert!(GruConfig::new(3, 4).build(1).unwrap().policy().is_err());
}
