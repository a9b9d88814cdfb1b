//! What struct the objects may be, in the report's terms.

use sysak_infer::InferredType;
use sysak_infer::object_types::{Reason, Sign};
use sysak_report::{ObjectType, TypeReason, TypeReasonKind};

/// Less likely than this is no answer.
const WORTH_TELLING: f64 = 0.05;

/// The type that fits best, and the others.
pub fn object_type(guesses: &[InferredType]) -> Option<ObjectType> {
    let best = guesses.first().filter(|best| best.confidence >= WORTH_TELLING)?;
    let rounded = |share: f64| (share * 1000.0).round() / 1000.0;
    Some(ObjectType {
        name: best.name.as_str().into(),
        confidence: rounded(best.confidence),
        candidates: guesses.iter().map(|one| one.name.as_str().into()).collect(),
        confidences: guesses.iter().map(|one| rounded(one.confidence)).collect(),
        module: best.module.as_deref().map(Into::into),
        size_bytes: Some(best.bytes.into()),
        reasons: best.reasons.iter().map(reason).collect(),
    })
}

fn reason(reason: &Reason) -> TypeReason {
    let (kind, leads_to) = match &reason.what {
        Sign::LeadsTo(name) => (TypeReasonKind::Object, Some(name.as_str().into())),
        Sign::Symbol(name) => (TypeReasonKind::Symbol, Some(name.as_str().into())),
        Sign::Linked => (TypeReasonKind::Linked, None),
        Sign::Unlinked => (TypeReasonKind::Unlinked, None),
        Sign::Page => (TypeReasonKind::Page, None),
    };
    TypeReason { offset: reason.offset.into(), field: reason.field.as_str().into(), kind, leads_to }
}
