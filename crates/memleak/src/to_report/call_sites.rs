//! Code that may have allocated the objects, in the report's terms.

use sysak_callsites::Matching;
use sysak_kernel::Kernel;
use sysak_report as report;

/// The functions whose calls are worth naming.
pub fn functions(kernel: &Kernel<'_>, found: Option<&Matching>) -> Vec<report::Function> {
    let Some(found) = found else { return Vec::new() };
    let named = found.named.iter().map(|one| {
        let symbol = kernel.symbols.symbolize(one.site.at);
        report::Function {
            name: symbol
                .map_or_else(|| one.site.at.to_string(), |symbol| symbol.name.to_owned())
                .into(),
            offset: symbol.map(|symbol| symbol.offset.into()),
            size: symbol.and_then(|symbol| symbol.size).map(Into::into),
            module: symbol.and_then(|symbol| symbol.module).map(Into::into),
            source: report::FunctionSource::Static,
            asked_bytes: one.site.size,
            linked: Some(one.is_linked()),
            ..report::Function::default()
        }
    });
    named.collect()
}
