//! The language that people are spoken to, and what their terminal can show, by the environment, which is handed in.

use std::ffi::OsStr;

use crate::Lang;
use crate::catalogue as say;
use crate::render::{ascii, clean};

/// How people are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speech {
    /// In which language.
    pub lang: Lang,
    /// Whether nothing but ASCII can be shown.
    pub ascii: bool,
}

impl Speech {
    /// The language asked for, else that of the locale, which `variable` of the environment names; and a line about it
    /// where the locale's cannot be shown.
    pub fn choose(
        asked: Option<Lang>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> (Speech, Option<String>) {
        if let Some(lang) = asked {
            return (Speech { lang, ascii: false }, None);
        }
        let locale = |category: &str| {
            let names = ["LC_ALL", category, "LANG"];
            names.into_iter().find_map(|name| variable(name).filter(|value| !value.is_empty()))
        };
        let lang = Lang::from_locale(&locale("LC_MESSAGES").unwrap_or_default());
        let encoding = locale("LC_CTYPE").and_then(|locale| foreign_encoding(&locale));
        match encoding {
            None => (Speech { lang, ascii: false }, None),
            Some(encoding) => {
                let told = (lang != Lang::En).then(|| say::only_ascii(Lang::En, &encoding));
                (Speech { lang: Lang::En, ascii: true }, told)
            }
        }
    }

    /// A text as the terminal shows it.
    pub fn show(self, text: &str) -> String {
        let text = clean(text);
        if self.ascii { ascii(&text) } else { text }
    }
}

/// The encoding that a locale's name says, where that is not UTF-8. Who says none has a terminal of this century.
fn foreign_encoding(locale: &str) -> Option<String> {
    let encoding = locale.split('@').next()?.split_once('.')?.1;
    let is_utf8 = ["UTF-8", "UTF8"].iter().any(|name| encoding.eq_ignore_ascii_case(name));
    (!is_utf8 && !encoding.is_empty()).then(|| encoding.to_owned())
}

/// Whether a terminal is written to in colour: `NO_COLOR` and `TERM` are what the environment says.
pub fn wants_colour(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty) && !is_dumb(term)
}

/// Whether a terminal understands no escape sequences.
pub fn is_dumb(term: Option<&OsStr>) -> bool {
    term == Some(OsStr::new("dumb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> (Speech, Option<String>) {
        Speech::choose(None, |name| {
            let found = variables.iter().find(|(one, _)| *one == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_terminal_that_is_not_utf_8_gets_plain_english() {
        let plain = Speech { lang: Lang::En, ascii: true };
        for locale in ["zh_CN.GBK", "zh_CN.gb18030", "zh_CN.GB2312@pinyin", "zh_TW.BIG5"] {
            let (speech, told) = of(&[("LANG", locale)]);
            assert_eq!(speech, plain, "{locale}");
            assert!(told.is_some_and(|told| told.is_ascii() && told.contains("--lang zh")));
        }
        assert_eq!(of(&[("LANG", "en_US.ISO-8859-1")]), (plain, None));
        let mixed = [("LC_MESSAGES", "zh_CN.UTF-8"), ("LC_CTYPE", "zh_CN.GBK")];
        assert_eq!(of(&mixed).0, plain);
    }

    #[test]
    fn utf_8_and_locales_that_say_no_encoding_get_their_language() {
        let zh = (Speech { lang: Lang::Zh, ascii: false }, None);
        for locale in ["zh_CN.UTF-8", "zh_CN.utf8", "zh_CN"] {
            assert_eq!(of(&[("LANG", locale)]), zh, "{locale}");
        }
        assert_eq!(of(&[("LC_ALL", "zh_CN.UTF-8"), ("LC_CTYPE", "zh_CN.GBK")]), zh);
        let en = (Speech { lang: Lang::En, ascii: false }, None);
        assert_eq!(of(&[]), en);
        assert_eq!(of(&[("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")]), en);
    }

    #[test]
    fn a_language_that_was_asked_for_is_spoken_whatever_the_locale() {
        let asked = Speech::choose(Some(Lang::Zh), |_| Some("zh_CN.GBK".to_owned()));
        assert_eq!(asked, (Speech { lang: Lang::Zh, ascii: false }, None));
    }

    #[test]
    fn colours_are_for_terminals_that_have_them() {
        let [xterm, dumb] = ["xterm", "dumb"].map(|name| Some(OsStr::new(name)));
        assert!(wants_colour(true, None, xterm) && wants_colour(true, Some(OsStr::new("")), None));
        assert!(!wants_colour(false, None, xterm) && !wants_colour(true, None, dumb));
        assert!(!wants_colour(true, Some(OsStr::new("1")), xterm));
    }
}
