//! Writing a checkpoint folder that every ALBERT tool can read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use tempfile::TempDir;

use crate::base;
use crate::checkpoint::Checkpoint;
use crate::config::{AlbertConfig, Architecture};
use crate::error::{Error, Result};
use crate::files::{folder_of, stage, sync_folder};
use crate::header::HeaderWriter;
use crate::int8;
use crate::names;
use crate::parameters::ParameterSpec;
use crate::survey::Survey;
use crate::tensor::DType;
use crate::weights::{INT8, SINGLE, is_plain_name};

/// A tensor to save.
#[derive(Clone, Copy, Debug)]
pub struct SaveTensor<'a> {
    /// Canonical name, as [`AlbertConfig::parameters`] lists it.
    pub name: &'a str,
    /// Dimensions, outermost first.
    pub shape: &'a [usize],
    /// The numbers, in row-major order.
    pub data: &'a [f32],
}

/// Saves a model as transformers does: `config.json`, `model.safetensors` with
/// the numbers in `dtype`, and a copy of each of `extra_files`, given as name in
/// the folder and source (the tokenizer's file, a model card).
///
/// A folder that does not exist appears at once and whole. In one that exists,
/// all files are written and synchronised under temporary names first, so a full
/// disk is noticed while the old files are all there; it must hold the old files
/// and the new ones. Then they are renamed one by one, the weights first and
/// `config.json` last: each file is the old one or the new one, whole, but a
/// crash between two renames leaves some of each. Files of other names stay as
/// they are. A file that is a symbolic link is followed: what it points to is
/// replaced.
///
/// A process that is killed meanwhile may leave files, or for a new folder a
/// folder, named `.albert-*.part`; they can be deleted.
///
/// # Errors
/// [`Error::Tensor`] if `tensors` are not exactly the parameters of `config`, or
/// a finite number is too large for `dtype`; [`Error::Field`] for a
/// configuration that does not fit together; [`Error::Io`] for a full disk, a
/// folder that cannot be written, and a folder, pipe or device where a file goes. After an error nothing has changed on disk,
/// unless a rename within an existing folder failed half-way.
pub fn save(
    dir: &Path,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    write(dir, Kind::Whole, config, tensors, dtype, extra_files)
}

/// As [`save`], but with the layers' matrices as 8-bit integers, each output with a scale of its
/// own, in `model.int8.safetensors`: a matrix `X` beside its scales `X_scale`, all other tensors,
/// those of [`int8_skip_modules`](AlbertConfig::int8_skip_modules) among them, in `dtype`.
/// `quantize` makes the integers and scales of a matrix of so many outputs. An engine that
/// runs the folder in int8 multiplies by these very integers; only this program reads it.
///
/// # Errors
/// As [`save`]; [`Error::Tensor`] for a number of a layer's matrix that is not finite, and for
/// integers and scales that are not as many as the matrix needs.
pub fn save_int8(
    dir: &Path,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    quantize: Quantize,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    let kind = Kind::Int8(quantize);
    write(dir, kind, config, tensors, dtype, extra_files)
}

/// From a matrix `[outputs, inputs]`, row-major, and its number of outputs to its integers and a
/// scale for each output.
pub type Quantize = fn(&[f32], usize) -> (Vec<i8>, Vec<f32>);

/// As [`save`], but leaves out the tensors that `base` has with the same numbers: the folder holds
/// `base.json`, which says where `base` lies and the checksum of its weights, and
/// `difference.safetensors`. It opens as long as the base lies in the same place from it;
/// only this program reads it.
///
/// # Errors
/// As [`save`]; [`Error::Folder`] where the folder holds `model.safetensors`, or `base` has a base
/// itself.
pub fn save_difference(
    dir: &Path,
    base: &Checkpoint,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    base.check_is_base()?;
    let kind = Kind::Difference(base.survey());
    write(dir, kind, config, tensors, dtype, extra_files)
}

/// What a folder's weights are stored as.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Whole,
    /// What differs from a base.
    Difference(&'a Survey),
    Int8(Quantize),
}

impl Kind<'_> {
    /// The name of the file of weights.
    fn file(self) -> &'static str {
        match self {
            Kind::Whole => SINGLE,
            Kind::Difference(_) => base::DIFFERENCE,
            Kind::Int8(_) => INT8,
        }
    }

    /// The file by which a folder is known to be of this kind.
    fn mark(self) -> &'static str {
        match self {
            Kind::Difference(_) => base::BASE,
            Kind::Whole | Kind::Int8(_) => self.file(),
        }
    }
}

fn write(
    dir: &Path,
    kind: Kind<'_>,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'_>],
    dtype: DType,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    config.validate()?;
    let mut ordered = in_order(dir, config, tensors)?;
    for (name, _) in extra_files {
        let ours = [SINGLE, INT8, base::BASE, base::DIFFERENCE, "config.json"];
        if !is_plain_name(name) || ours.contains(name) {
            return Err(Error::folder(
                dir,
                format!("cannot hold an extra file named {name:?}"),
            ));
        }
    }
    let base_json = match kind {
        Kind::Difference(base) => {
            ordered.retain(|tensor| !base::same(base, tensor));
            let parent = folder_of(dir);
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
            Some(base::text(dir, base)?)
        }
        Kind::Whole | Kind::Int8(_) => None,
    };
    let weights = Weights {
        kind,
        config,
        tensors: &ordered,
        dtype,
    };
    let base_json = base_json.as_deref();
    if dir.is_dir() {
        // Of two files of weights one would be stale.
        let others = [SINGLE, INT8, base::BASE].into_iter();
        for other in others.filter(|other| *other != kind.mark()) {
            if dir.join(other).exists() {
                let problem = format!("holds {other}, of a model that is stored in another way");
                return Err(Error::folder(dir, problem));
            }
        }
        return write_into(dir, dir, base_json, &weights, extra_files);
    }
    if dir.exists() {
        return Err(Error::folder(
            dir,
            "is a file; a checkpoint is saved as a folder",
        ));
    }

    let parent = folder_of(dir);
    fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    let fresh = temporary_folder(parent).map_err(Error::io("create", dir))?;
    let fresh_dir = fresh.path();
    write_into(fresh_dir, dir, base_json, &weights, extra_files)?;
    fs::rename(fresh.path(), dir).map_err(Error::io("create", dir))?;
    // It is at its place now and must not be removed with the temporary name.
    let _ = fresh.keep();
    sync_folder(parent)
}

fn temporary_folder(parent: &Path) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".albert-").suffix(".part");
    #[cfg(unix)]
    {
        // The mode of an ordinary new folder; the umask narrows it.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(parent)
}

/// Writes all files into `dir`; messages speak of `shown`.
fn write_into(
    dir: &Path,
    shown: &Path,
    base_json: Option<&str>,
    weights: &Weights<'_>,
    extra_files: &[(&str, &Path)],
) -> Result<()> {
    let has_heads = weights.config.architecture != Architecture::Base;
    let mut staged = Vec::with_capacity(extra_files.len() + 2);
    let name = weights.kind.file();
    let path = shown.join(name);
    staged.push(stage(&dir.join(name), &path, |file| {
        weights.write(&path, file, has_heads)
    })?);
    if let Some(text) = base_json {
        let path = shown.join(base::BASE);
        staged.push(stage(&dir.join(base::BASE), &path, |file| {
            file.write_all(text.as_bytes())
                .map_err(Error::io("write", &path))
        })?);
    }
    for (name, source) in extra_files {
        let mut from = File::open(source).map_err(Error::io("read", source))?;
        let path = shown.join(name);
        staged.push(stage(&dir.join(name), &path, |file| {
            io::copy(&mut from, file)
                .map(drop)
                .map_err(Error::io("write", &path))
        })?);
    }
    let json = weights
        .config
        .to_json_with(Some(weights.dtype.torch_name()));
    let path = shown.join("config.json");
    staged.push(stage(&dir.join("config.json"), &path, |file| {
        file.write_all(json.as_bytes())
            .map_err(Error::io("write", &path))
    })?);
    staged.into_iter().try_for_each(|file| file.commit())
}

/// The tensors in the configuration's order, if they are exactly its parameters.
fn in_order<'a>(
    dir: &Path,
    config: &AlbertConfig,
    tensors: &[SaveTensor<'a>],
) -> Result<Vec<SaveTensor<'a>>> {
    let mut by_name = HashMap::with_capacity(tensors.len());
    for tensor in tensors {
        if by_name.insert(tensor.name, *tensor).is_some() {
            return Err(Error::tensor(dir, tensor.name, "is given twice"));
        }
    }
    let mut ordered = Vec::with_capacity(tensors.len());
    for ParameterSpec { name, shape } in config.parameters() {
        let Some(tensor) = by_name.remove(name.as_str()) else {
            let problem = format!("is not given; {} needs it", config.architecture);
            return Err(Error::tensor(dir, &name, problem));
        };
        if tensor.shape != shape {
            let problem = format!(
                "has the shape {:?}; the configuration asks for {shape:?}",
                tensor.shape
            );
            return Err(Error::tensor(dir, &name, problem));
        }
        if tensor.data.len() != shape.iter().product::<usize>() {
            let problem = format!(
                "has {} numbers, which the shape {shape:?} has not",
                tensor.data.len()
            );
            return Err(Error::tensor(dir, &name, problem));
        }
        ordered.push(tensor);
    }
    match tensors
        .iter()
        .find(|tensor| by_name.contains_key(tensor.name))
    {
        Some(extra) => {
            let problem = format!("is not a parameter of {}", config.architecture);
            Err(Error::tensor(dir, extra.name, problem))
        }
        None => Ok(ordered),
    }
}

/// The weights of a folder, to be written.
struct Weights<'a> {
    kind: Kind<'a>,
    config: &'a AlbertConfig,
    tensors: &'a [SaveTensor<'a>],
    dtype: DType,
}

impl Weights<'_> {
    /// Streams a safetensors file: never more than a buffer of it, and an int8 matrix, is in memory.
    fn write(&self, path: &Path, file: &mut File, has_heads: bool) -> Result<()> {
        let mut header = HeaderWriter::new();
        for tensor in self.tensors {
            let fail = |problem| Error::tensor(path, tensor.name, problem);
            let name = names::saved(tensor.name, has_heads);
            if self.quantizes(tensor).is_some() {
                header.add(name, DType::I8, tensor.shape).map_err(fail)?;
                let scales = format!("{name}{}", int8::SCALE);
                let outputs = &tensor.shape[..1];
                header.add(&scales, DType::F32, outputs).map_err(fail)?;
            } else {
                header.add(name, self.dtype, tensor.shape).map_err(fail)?;
            }
        }
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let failed = || Error::io("write", path);
        out.write_all(&header.into_bytes()).map_err(failed())?;
        for tensor in self.tensors {
            if let Some(quantize) = self.quantizes(tensor) {
                if tensor.data.iter().any(|x| !x.is_finite()) {
                    let problem = "has a number that is not finite, which int8 cannot hold";
                    return Err(Error::tensor(path, tensor.name, problem));
                }
                let (integers, scales) = quantize(tensor.data, tensor.shape[0]);
                if (integers.len(), scales.len()) != (tensor.data.len(), tensor.shape[0]) {
                    let problem = "was quantised into another number of integers or scales";
                    return Err(Error::tensor(path, tensor.name, problem));
                }
                let integers: Vec<u8> = integers.into_iter().map(i8::cast_unsigned).collect();
                out.write_all(&integers).map_err(failed())?;
                for scale in scales {
                    out.write_all(&scale.to_le_bytes()).map_err(failed())?;
                }
            } else {
                write_floats(path, &mut out, tensor, self.dtype)?;
            }
        }
        out.flush().map_err(failed())
    }

    /// How a tensor becomes integers, if it does.
    fn quantizes(&self, tensor: &SaveTensor<'_>) -> Option<Quantize> {
        match self.kind {
            Kind::Int8(quantize)
                if int8::is_layer_matrix(tensor.name, tensor.shape)
                    && !int8::is_skipped(self.config, tensor.name) =>
            {
                Some(quantize)
            }
            _ => None,
        }
    }
}

fn write_floats(
    path: &Path,
    out: &mut impl Write,
    tensor: &SaveTensor<'_>,
    dtype: DType,
) -> Result<()> {
    for &x in tensor.data {
        let (bytes, kept): (&[u8], bool) = match dtype {
            DType::F32 => (&x.to_le_bytes(), true),
            DType::F16 => {
                let y = f16::from_f32(x);
                (&y.to_le_bytes(), y.is_finite())
            }
            DType::Bf16 => {
                let y = bf16::from_f32(x);
                (&y.to_le_bytes(), y.is_finite())
            }
            DType::I8 => {
                let problem = "cannot be saved in int8 by itself: only the matrices of layers can";
                return Err(Error::tensor(path, tensor.name, problem));
            }
        };
        if !kept && x.is_finite() {
            let problem = format!("has the number {x}, too large for {dtype}");
            return Err(Error::tensor(path, tensor.name, problem));
        }
        out.write_all(bytes).map_err(Error::io("write", path))?;
    }
    Ok(())
}
