//! What an expert asks of a kernel, and the answer.

use std::time::Duration;

use sysak_base::{Cancel, Va};
use sysak_holders::HolderResolver;
use sysak_infer::{TypeInferrer, kernel_types};
use sysak_kernel::{Kernel, KernelError};
use sysak_memleak::diagnose::{DiagnoseError, diagnose};
use sysak_memleak::plan::Plan;
use sysak_report as report;
use sysak_report::{Inspection, Stage, Subject};
use sysak_snapshot::{Snapshot, Stages};

use crate::{cache, document, dump, refs, spot};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// All about a slab cache.
    Cache(String),
    /// The words of the object at an address, and of those that it leads to, so many steps deep.
    Object(Va, u32),
    /// What points to the object at an address.
    Refs(Va),
    /// What an address is.
    Addr(Va),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Half a snapshot says nothing about one object.
    #[error("stopped before the end: nothing is known yet")]
    HalfWay,
    /// An address that lies in nothing that was allocated.
    #[error(
        "{0} lies in no slab object, block, area or per-CPU allocation: `sysak inspect addr` \
         shows what it is"
    )]
    NoObject(Va),
    /// The kernel could not be walked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// There is no such cache, or the kernel could not be walked.
    #[error(transparent)]
    Diagnose(#[from] DiagnoseError),
}

/// Answers a question with one snapshot.
pub fn answer(
    target: report::Target,
    kernel: &mut Kernel<'_>,
    question: &Question,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Result<Inspection, InspectError> {
    let at = match question {
        Question::Cache(name) => return of_cache(target, kernel, name, stages, cancel),
        Question::Object(at, _) | Question::Refs(at) | Question::Addr(at) => *at,
    };
    let snapshot = Snapshot::take(kernel, stages, cancel)?;
    refuse_half(snapshot.interrupted)?;
    let resolver = HolderResolver::new(kernel, &snapshot, cancel);
    let no_object = || InspectError::NoObject(at);
    let subject = match question {
        Question::Object(_, depth) => {
            let object = snapshot.heap.find_object(at.0).ok_or_else(no_object)?;
            let types = kernel_types(kernel);
            let mut inferrer = TypeInferrer::new(kernel, &snapshot.heap, &types);
            Subject::Object(dump(&resolver, &mut inferrer, object, at, *depth))
        }
        Question::Refs(_) => Subject::Refs(refs(&resolver, at, cancel).ok_or_else(no_object)?),
        _ => Subject::Addr(spot(&resolver, at)),
    };
    Ok(document(target, &snapshot, subject))
}

/// One cache, judged as `sysak memleak` judges it.
fn of_cache(
    target: report::Target,
    kernel: &mut Kernel<'_>,
    name: &str,
    stages: &dyn Stages,
    cancel: &Cancel,
) -> Result<Inspection, InspectError> {
    let plan = Plan {
        only_cache: Some(name.to_owned()),
        // Who holds it is what was asked for.
        explain_limit: Some(Duration::MAX),
        ..Plan::default()
    };
    let diagnosis = diagnose(kernel, &plan, stages, cancel)?;
    refuse_half(diagnosis.observed.interrupted)?;
    let subject = Subject::Cache(Box::new(cache(kernel, &diagnosis)));
    Ok(document(target, &diagnosis.observed.snapshot, subject))
}

/// Half a snapshot says nothing about one object.
fn refuse_half(interrupted: Option<Stage>) -> Result<(), InspectError> {
    interrupted.map_or(Ok(()), |_| Err(InspectError::HalfWay))
}
