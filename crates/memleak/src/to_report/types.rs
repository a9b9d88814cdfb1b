//! What struct the objects may be, in the report's terms.

use sysak_infer::InferredType;
use sysak_infer::object_types::{Reason, ReasonKind};
use sysak_report::{ObjectType, TypeReason, TypeReasonKind};

/// Less likely than this is no answer.
const WORTH_TELLING: f64 = 0.05;

/// The type that fits best, and the others.
pub fn object_type(inferred: &[InferredType]) -> Option<ObjectType> {
    let best = inferred.first().filter(|best| best.confidence >= WORTH_TELLING)?;
    let rounded = |share: f64| (share * 1000.0).round() / 1000.0;
    Some(ObjectType {
        name: best.name.as_str().into(),
        confidence: rounded(best.confidence),
        candidates: inferred.iter().map(|one| one.name.as_str().into()).collect(),
        confidences: inferred.iter().map(|one| rounded(one.confidence)).collect(),
        module: best.module.as_deref().map(Into::into),
        size_bytes: Some(best.bytes.into()),
        reasons: best.reasons.iter().map(reason).collect(),
    })
}

fn reason(reason: &Reason) -> TypeReason {
    let (kind, leads_to) = match &reason.kind {
        ReasonKind::LeadsTo(name) => (TypeReasonKind::Object, Some(name.as_str().into())),
        ReasonKind::Symbol(name) => (TypeReasonKind::Symbol, Some(name.as_str().into())),
        ReasonKind::Linked => (TypeReasonKind::Linked, None),
        ReasonKind::Unlinked => (TypeReasonKind::Unlinked, None),
        ReasonKind::Page => (TypeReasonKind::Page, None),
    };
    TypeReason { offset: reason.offset.into(), field: reason.field.as_str().into(), kind, leads_to }
}
