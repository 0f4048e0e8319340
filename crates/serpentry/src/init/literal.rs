//! The value of a Python expression, if it can be known without running it.
//!
//! Literals, arithmetic on them, names assigned further up, the machine's processors and `os.environ.get` with a default:
//! what configuration files in Python are made of. Everything else has no value here, and whoever asked says so.

use std::collections::BTreeMap;

use super::python::Token;

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// A list or a tuple.
    List(Vec<Value>),
    Mapping(Vec<(Value, Value)>),
}

/// A value and what it depended on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) value: Value,
    /// It was computed from the number of processors of this machine.
    pub(super) processors: bool,
    /// Environment variables whose default was taken.
    pub(super) variables: Vec<String>,
}

/// Values of names.
pub(super) type Names = BTreeMap<String, Known>;

/// How deep expressions may be nested.
const DEPTH: usize = 32;

/// The value of the whole expression.
pub(super) fn evaluate(tokens: &[Token<'_>], names: &Names, processors: usize) -> Option<Known> {
    let mut parser =
        Parser { rest: tokens, names, processors, depth: 0, used_processors: false, variables: Vec::new() };
    let value = parser.alternative()?;
    parser.rest.is_empty().then_some(Known {
        value,
        processors: parser.used_processors,
        variables: parser.variables,
    })
}

struct Parser<'a> {
    rest: &'a [Token<'a>],
    names: &'a Names,
    processors: usize,
    depth: usize,
    used_processors: bool,
    variables: Vec<String>,
}

impl<'a> Parser<'a> {
    /// `a or b`
    fn alternative(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let mut value = self.sum()?;
        while self.skip(&[Token::Name("or")]) {
            let other = self.sum()?;
            if !is_true(&value) {
                value = other;
            }
        }
        self.depth -= 1;
        Some(value)
    }

    fn sum(&mut self) -> Option<Value> {
        let mut value = self.product()?;
        while let Some(operator) = self.operator(&["+", "-"]) {
            value = calculate(&value, operator, &self.product()?)?;
        }
        Some(value)
    }

    fn product(&mut self) -> Option<Value> {
        let mut value = self.unary()?;
        while let Some(operator) = self.operator(&["*", "/", "//"]) {
            value = calculate(&value, operator, &self.unary()?)?;
        }
        Some(value)
    }

    fn unary(&mut self) -> Option<Value> {
        if self.skip(&[Token::Symbol("-")]) {
            return match self.atom()? {
                Value::Integer(number) => Some(Value::Integer(number.checked_neg()?)),
                Value::Float(number) => Some(Value::Float(-number)),
                _ => None,
            };
        }
        self.atom()
    }

    fn atom(&mut self) -> Option<Value> {
        let (first, rest) = self.rest.split_first()?;
        match first {
            Token::Number(text) => {
                self.rest = rest;
                number(text)
            }
            Token::Text(_) => self.texts(),
            Token::Symbol(open @ ("(" | "[")) => {
                self.rest = rest;
                self.list(open)
            }
            Token::Symbol("{") => {
                self.rest = rest;
                self.mapping()
            }
            Token::Symbol(_) => None,
            Token::Name(_) => self.name(),
        }
    }

    /// Strings that stand side by side are one.
    fn texts(&mut self) -> Option<Value> {
        let mut text = String::new();
        while let Some((Token::Text(part), rest)) = self.rest.split_first() {
            text.push_str(part.as_deref()?);
            self.rest = rest;
        }
        Some(Value::Text(text))
    }

    /// Behind the opening bracket. `(1)` is 1, `(1,)` a tuple.
    fn list(&mut self, open: &str) -> Option<Value> {
        let close = if open == "(" { ")" } else { "]" };
        let mut items = Vec::new();
        let mut comma = open == "[";
        while !self.skip(&[Token::Symbol(close)]) {
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(self.alternative()?);
            let more = self.skip(&[Token::Symbol(",")]);
            if !more {
                self.take(&[Token::Symbol(close)])?;
                return Some(if items.len() == 1 && open == "(" {
                    items.remove(0)
                } else {
                    Value::List(items)
                });
            }
            comma = true;
        }
        Some(Value::List(items))
    }

    /// Behind the opening brace.
    fn mapping(&mut self) -> Option<Value> {
        let mut pairs = Vec::new();
        while !self.skip(&[Token::Symbol("}")]) {
            let key = self.alternative()?;
            self.take(&[Token::Symbol(":")])?;
            pairs.push((key, self.alternative()?));
            if !self.skip(&[Token::Symbol(",")]) {
                self.take(&[Token::Symbol("}")])?;
                break;
            }
        }
        Some(Value::Mapping(pairs))
    }

    fn name(&mut self) -> Option<Value> {
        let dotted = self.dotted_name();
        match dotted.as_str() {
            "None" => Some(Value::None),
            "True" => Some(Value::Boolean(true)),
            "False" => Some(Value::Boolean(false)),
            "multiprocessing.cpu_count"
            | "cpu_count"
            | "os.cpu_count"
            | "mp.cpu_count"
            | "os.process_cpu_count" => {
                self.take(&[Token::Symbol("("), Token::Symbol(")")])?;
                self.used_processors = true;
                i64::try_from(self.processors).ok().map(Value::Integer)
            }
            "os.environ.get" | "environ.get" | "os.getenv" | "getenv" => self.variable(),
            "int" | "str" | "float" => self.conversion(&dotted),
            "min" | "max" => self.extreme(&dotted),
            name => {
                let known = self.names.get(name)?;
                self.used_processors |= known.processors;
                self.variables.extend_from_slice(&known.variables);
                Some(known.value.clone())
            }
        }
    }

    fn dotted_name(&mut self) -> String {
        let mut name = String::new();
        while let Some((Token::Name(part), rest)) = self.rest.split_first() {
            name.push_str(part);
            self.rest = rest;
            if !self.skip(&[Token::Symbol(".")]) {
                break;
            }
            name.push('.');
        }
        name
    }

    /// `("NAME", default)`: the default, for what the variable will be is not known here.
    fn variable(&mut self) -> Option<Value> {
        let mut arguments = self.arguments()?.into_iter();
        let Some(Value::Text(name)) = arguments.next() else { return None };
        self.variables.push(name);
        Some(arguments.next().unwrap_or(Value::None))
    }

    fn conversion(&mut self, to: &str) -> Option<Value> {
        let arguments = self.arguments()?;
        let [argument] = arguments.as_slice() else { return None };
        match (to, argument) {
            ("int", Value::Integer(number)) => Some(Value::Integer(*number)),
            ("int", Value::Float(number)) if number.abs() < 9e15 => Some(Value::Integer(*number as i64)),
            ("int", Value::Text(text)) => text.trim().parse().ok().map(Value::Integer),
            ("float", Value::Text(text)) => text.trim().parse().ok().map(Value::Float),
            ("float", Value::Integer(number)) => Some(Value::Float(*number as f64)),
            ("str", value) => as_text(value).map(Value::Text),
            _ => None,
        }
    }

    fn extreme(&mut self, which: &str) -> Option<Value> {
        let numbers = self.arguments()?.into_iter().map(|value| match value {
            Value::Integer(number) => Some(number),
            _ => None,
        });
        let numbers = numbers.collect::<Option<Vec<i64>>>()?;
        let found = if which == "min" { numbers.iter().min() } else { numbers.iter().max() };
        found.copied().map(Value::Integer)
    }

    fn arguments(&mut self) -> Option<Vec<Value>> {
        self.take(&[Token::Symbol("(")])?;
        let mut arguments = Vec::new();
        while !self.skip(&[Token::Symbol(")")]) {
            arguments.push(self.alternative()?);
            if !self.skip(&[Token::Symbol(",")]) {
                self.take(&[Token::Symbol(")")])?;
                break;
            }
        }
        Some(arguments)
    }

    fn operator(&mut self, known: &[&'static str]) -> Option<&'static str> {
        let found = known.iter().find(|text| self.rest.first() == Some(&Token::Symbol(text)))?;
        self.rest = &self.rest[1..];
        Some(found)
    }

    fn skip(&mut self, tokens: &[Token<'a>]) -> bool {
        let found = self.rest.starts_with(tokens);
        if found {
            self.rest = &self.rest[tokens.len()..];
        }
        found
    }

    fn take(&mut self, tokens: &[Token<'a>]) -> Option<()> {
        self.skip(tokens).then_some(())
    }
}

/// A value as one text: what a command line would have.
pub(super) fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::Boolean(truth) => Some(if *truth { "True" } else { "False" }.to_owned()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.clone()),
        Value::None | Value::List(_) | Value::Mapping(_) => None,
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::None => false,
        Value::Boolean(truth) => *truth,
        Value::Integer(number) => *number != 0,
        Value::Float(number) => *number != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Mapping(pairs) => !pairs.is_empty(),
    }
}

fn number(text: &str) -> Option<Value> {
    let text = text.replace('_', "");
    match text.get(..2) {
        Some("0x" | "0X") => i64::from_str_radix(&text[2..], 16).ok().map(Value::Integer),
        Some("0o" | "0O") => i64::from_str_radix(&text[2..], 8).ok().map(Value::Integer),
        _ => match text.parse() {
            Ok(number) => Some(Value::Integer(number)),
            Err(_) => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float),
        },
    }
}

fn calculate(left: &Value, operator: &str, right: &Value) -> Option<Value> {
    match (left, operator, right) {
        (Value::Text(left), "+", Value::Text(right)) => Some(Value::Text(format!("{left}{right}"))),
        (Value::List(left), "+", Value::List(right)) => Some(Value::List([&left[..], &right[..]].concat())),
        (Value::Integer(left), _, Value::Integer(right)) => match operator {
            "+" => left.checked_add(*right).map(Value::Integer),
            "-" => left.checked_sub(*right).map(Value::Integer),
            "*" => left.checked_mul(*right).map(Value::Integer),
            // Rounds down, as in Python, for the positive numbers that configurations have.
            "//" if *left >= 0 && *right > 0 => Some(Value::Integer(left / right)),
            "/" if *right != 0 => Some(Value::Float(*left as f64 / *right as f64)),
            _ => None,
        },
        _ => {
            let (left, right) = (as_float(left)?, as_float(right)?);
            let result = match operator {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                "/" => left / right,
                _ => return None,
            };
            result.is_finite().then_some(Value::Float(result))
        }
    }
}

fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::python::statements;
    use super::*;

    fn value(source: &str) -> Option<Known> {
        let statements = statements(source);
        evaluate(&statements.first()?.tokens, &Names::new(), 4)
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn literals_and_arithmetic() {
        let cases = [
            ("1", Value::Integer(1)),
            ("1_000", Value::Integer(1000)),
            ("0x10", Value::Integer(16)),
            ("-1.5", Value::Float(-1.5)),
            ("2 + 3 * 4 - 1", Value::Integer(13)),
            ("(2 + 3) * 4", Value::Integer(20)),
            ("7 // 2", Value::Integer(3)),
            ("1 / 2", Value::Float(0.5)),
            ("60 * 1.5", Value::Float(90.0)),
            ("True", Value::Boolean(true)),
            ("None or 'x'", text("x")),
            ("'a' 'b' + \"c\"", text("abc")),
            ("['a', 1,]", Value::List(vec![text("a"), Value::Integer(1)])),
            ("()", Value::List(vec![])),
            ("(1,)", Value::List(vec![Value::Integer(1)])),
            ("{'a': 1}", Value::Mapping(vec![(text("a"), Value::Integer(1))])),
            ("str(8000)", text("8000")),
            ("int('3')", Value::Integer(3)),
            ("int(2.9)", Value::Integer(2)),
            ("min(3, 2)", Value::Integer(2)),
        ];
        for (source, expected) in cases {
            let expected = Some(Known { value: expected, processors: false, variables: Vec::new() });
            assert_eq!(value(source), expected, "{source}");
        }
    }

    #[test]
    fn processors_and_variables_are_remembered() {
        for source in
            ["multiprocessing.cpu_count() * 2 + 1", "2 * os.cpu_count() + 1", "(cpu_count() * 2) + 1"]
        {
            let expected = Known { value: Value::Integer(9), processors: true, variables: Vec::new() };
            assert_eq!(value(source), Some(expected), "{source}");
        }
        let known = value("int(os.environ.get('WEB_CONCURRENCY', 3))").unwrap();
        assert_eq!((known.value, known.variables), (Value::Integer(3), vec!["WEB_CONCURRENCY".to_owned()]));
        let known = value("'0.0.0.0:' + os.getenv('PORT', '80')").unwrap();
        assert_eq!(known.value, text("0.0.0.0:80"));
    }

    #[test]
    fn names_assigned_before_are_known() {
        let names = Names::from([("per_core".to_owned(), value("cpu_count() * 2").unwrap())]);
        let statements = statements("per_core + 1");
        let known = evaluate(&statements[0].tokens, &names, 4).unwrap();
        assert_eq!((known.value, known.processors), (Value::Integer(9), true));
    }

    #[test]
    fn what_must_be_run_has_no_value() {
        let calls =
            ["count()", "x", "os.environ['PORT']", "f'{x}'", "b'x'", "1 if x else 2", "[x for x in y]"];
        let broken =
            ["1 +", "(1", "1 2", "'a' + 1", "1 // 0", "9223372036854775807 + 1", "lambda: 1", "-'a'"];
        for source in calls.into_iter().chain(broken) {
            assert_eq!(value(source), None, "{source}");
        }
        assert_eq!(value(&"(".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn any_tokens_are_answered(source in r"([0-9()\[\]{}+*/,:'a-]|os\.getenv|int|min| or |cpu_count\(\)){0,60}") {
            let _ = value(&source);
        }

        #[test]
        fn sums_are_as_in_rust(a in -1000..1000_i64, b in 0..1000_i64, c in 0..1000_i64) {
            let known = value(&format!("{a} + {b} * {c}")).unwrap();
            prop_assert_eq!(known.value, Value::Integer(a + b * c));
        }
    }
}
