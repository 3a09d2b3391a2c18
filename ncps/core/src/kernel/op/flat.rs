//! One vector cut into the arrays of a model, and arrays joined to one vector, each as one node of the graph.

use std::ffi::CStr;

use mlx_rs::error::Exception;
use mlx_rs::{Array, Dtype, Stream};

use super::ffi::{Never, Op, Tensor, apply, is_cpu};
use crate::kernel::gpu::{self, Backend};

/// Cuts a vector into arrays of these shapes, which follow each other; none where the op does not serve: on a GPU, or for
/// arrays that are not f32.
pub(crate) fn split(flat: &Array, shapes: &[Vec<i32>]) -> Result<Option<Vec<Array>>, Exception> {
    let stream = Stream::thread_local_or_default();
    let size = |shape: &Vec<i32>| shape.iter().map(|&n| n as usize).product::<usize>();
    let is_whole = shapes.iter().map(size).sum::<usize>() == flat.size();
    if flat.dtype() != Dtype::Float32 || !is_whole || !is_cpu(&stream) {
        return Ok(None);
    }
    apply(Split, &[flat], shapes, None, &stream).map(Some)
}

/// Joins arrays to one vector; none where the op does not serve: for arrays that are not f32, or on a GPU whose kernels
/// are not trusted.
pub(crate) fn join(arrays: &[Array]) -> Result<Option<Array>, Exception> {
    let stream = Stream::thread_local_or_default();
    let is_f32 = arrays.iter().all(|array| array.dtype() == Dtype::Float32);
    let size: usize = arrays.iter().map(Array::size).sum();
    let Ok(size) = i32::try_from(size) else {
        return Ok(None);
    };
    if !is_f32 {
        return Ok(None);
    }
    if let Some(backend) = Backend::of(&stream) {
        return gpu::join(arrays, backend);
    }
    let inputs: Vec<&Array> = arrays.iter().collect();
    let joined = apply(Join, &inputs, &[vec![size]], None, &stream)?;
    Ok(joined.into_iter().next())
}

#[derive(Debug)]
struct Split;

impl Op for Split {
    const NAME: &'static CStr = c"NcpsSplit";
    type Derivative = Never;

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [&mut [f32]]) -> Result<(), String> {
        let mut rest = &*inputs[0].values;
        for output in outputs {
            let (own, others) = rest.split_at(output.len());
            output.copy_from_slice(own);
            rest = others;
        }
        Ok(())
    }

    fn differentiate(&self, _: &[usize]) -> Option<Never> {
        None
    }
}

#[derive(Debug)]
struct Join;

impl Op for Join {
    const NAME: &'static CStr = c"NcpsJoin";
    type Derivative = Never;

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [&mut [f32]]) -> Result<(), String> {
        let mut rest = &mut *outputs[0];
        for input in inputs {
            let (own, others) = rest.split_at_mut(input.values.len());
            own.copy_from_slice(&input.values);
            rest = others;
        }
        Ok(())
    }

    fn differentiate(&self, _: &[usize]) -> Option<Never> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joined_vector_is_cut_into_what_it_was_joined_from() {
        let transposed = Array::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2]);
        let parts = [
            Array::from_f32(7.0),
            transposed.transpose().unwrap(),
            Array::from_slice(&[8.0_f32], &[1]),
        ];
        let flat = join(&parts).unwrap().unwrap();
        assert_eq!(
            flat.as_slice::<f32>(),
            &[7.0, 1.0, 3.0, 5.0, 2.0, 4.0, 6.0, 8.0]
        );
        let shapes: Vec<Vec<i32>> = parts.iter().map(|part| part.shape().to_vec()).collect();
        let again = split(&flat, &shapes).unwrap().unwrap();
        for (part, again) in parts.iter().zip(&again) {
            assert_eq!(part.shape(), again.shape());
            assert!(part.all_close(again, 0.0, 0.0, None).unwrap());
        }
        assert!(split(&flat, &shapes[1..]).unwrap().is_none());
    }
}
