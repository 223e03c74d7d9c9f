//! The part of the walk that looks at expressions, function calls and types.
//!
//! The same rules as in `walk`: an allow-list, and what is not known counts as not understood.

use sqlparser::ast::{
    AccessExpr, Array, ArrayElemTypeDef, CaseWhen, CeilFloorKind, DataType, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    Ident, Interval, ObjectName, ObjectNamePart, Subscript, WindowFrame, WindowFrameBound,
    WindowSpec, WindowType,
};

use super::finding::Finding;
use super::functions::Safety;
use super::walk::Walk;

impl<'a> Walk<'a> {
    /// Looks at one expression and leaves its parts to be looked at.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm per expression, each a line or two"
    )]
    pub(super) fn expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => {}
            Expr::IsFalse(expr)
            | Expr::IsNotFalse(expr)
            | Expr::IsTrue(expr)
            | Expr::IsNotTrue(expr)
            | Expr::IsNull(expr)
            | Expr::IsNotNull(expr)
            | Expr::IsUnknown(expr)
            | Expr::IsNotUnknown(expr)
            | Expr::Nested(expr)
            | Expr::UnaryOp { op: _, expr }
            | Expr::Extract {
                field: _,
                syntax: _,
                expr,
            }
            | Expr::Collate { expr, collation: _ }
            | Expr::IsNormalized {
                expr,
                form: _,
                negated: _,
            }
            | Expr::IsJson {
                expr,
                kind: _,
                unique_keys: _,
                negated: _,
            }
            | Expr::Named { expr, name: _ } => self.push(expr),
            Expr::IsDistinctFrom(left, right)
            | Expr::IsNotDistinctFrom(left, right)
            | Expr::BinaryOp { left, op: _, right }
            | Expr::AnyOp {
                left,
                compare_op: _,
                right,
                is_some: _,
            }
            | Expr::AllOp {
                left,
                compare_op: _,
                right,
            }
            | Expr::AtTimeZone {
                timestamp: left,
                time_zone: right,
            }
            | Expr::Position {
                expr: left,
                r#in: right,
            } => {
                self.push(left);
                self.push(right);
            }
            Expr::InList {
                expr,
                list,
                negated: _,
            } => {
                self.push(expr);
                self.push_all(list);
            }
            Expr::InSubquery {
                expr,
                subquery,
                negated: _,
            } => {
                self.push(expr);
                self.push_query(subquery);
            }
            Expr::Exists {
                subquery,
                negated: _,
            }
            | Expr::Subquery(subquery) => {
                self.push_query(subquery);
            }
            Expr::Between {
                expr,
                negated: _,
                low,
                high,
            } => {
                self.push(expr);
                self.push(low);
                self.push(high);
            }
            Expr::Like {
                negated: _,
                any: _,
                expr,
                pattern,
                escape_char,
            }
            | Expr::ILike {
                negated: _,
                any: _,
                expr,
                pattern,
                escape_char,
            }
            | Expr::SimilarTo {
                negated: _,
                expr,
                pattern,
                escape_char,
            } => {
                self.push(expr);
                self.push(pattern);
                self.push_all(escape_char.as_deref());
            }
            Expr::Cast {
                kind: _,
                expr,
                data_type,
                format,
            } => {
                self.push(expr);
                self.data_type(data_type);
                self.only_if(format.is_none());
            }
            Expr::TypedString(typed) => self.data_type(&typed.data_type),
            Expr::Interval(Interval {
                value,
                leading_field: _,
                leading_precision: _,
                last_field: _,
                fractional_seconds_precision: _,
            }) => self.push(value),
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => {
                self.push(expr);
                match field {
                    CeilFloorKind::DateTimeField(_) | CeilFloorKind::Scale(_) => {}
                }
            }
            Expr::Substring {
                expr,
                substring_from,
                substring_for,
                special: _,
                shorthand: _,
            } => {
                self.push(expr);
                self.push_all(substring_from.as_deref());
                self.push_all(substring_for.as_deref());
            }
            Expr::Trim {
                trim_where: _,
                trim_what,
                expr,
                trim_characters,
            } => {
                self.push(expr);
                self.push_all(trim_what.as_deref());
                self.push_all(trim_characters.iter().flatten());
            }
            Expr::Overlay {
                expr,
                overlay_what,
                overlay_from,
                overlay_for,
            } => {
                self.push(expr);
                self.push(overlay_what);
                self.push(overlay_from);
                self.push_all(overlay_for.as_deref());
            }
            Expr::Function(function) => self.function(function),
            Expr::Case {
                case_token: _,
                end_token: _,
                operand,
                conditions,
                else_result,
            } => {
                self.push_all(operand.as_deref());
                for CaseWhen { condition, result } in conditions {
                    self.push(condition);
                    self.push(result);
                }
                self.push_all(else_result.as_deref());
            }
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                self.push_all(sets.iter().flatten());
            }
            Expr::Tuple(exprs)
            | Expr::Array(Array {
                elem: exprs,
                named: _,
            }) => {
                self.push_all(exprs);
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.push(root);
                access_chain.iter().for_each(|access| self.access(access));
            }
            // `(row).*` and `count(*)`.
            Expr::Wildcard(_) | Expr::QualifiedWildcard(_, _) => {}
            Expr::JsonAccess { .. }
            | Expr::InUnnest { .. }
            | Expr::RLike { .. }
            | Expr::Convert { .. }
            | Expr::Prefixed { .. }
            | Expr::Struct { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::MatchAgainst { .. }
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::Lambda(_)
            | Expr::MemberOf(_) => self.found(Finding::NotUnderstood),
        }
    }

    fn access(&mut self, access: &'a AccessExpr) {
        match access {
            AccessExpr::Dot(expr) | AccessExpr::Subscript(Subscript::Index { index: expr }) => {
                self.push(expr);
            }
            AccessExpr::Subscript(Subscript::Slice {
                lower_bound,
                upper_bound,
                stride,
            }) => {
                self.push_all(lower_bound);
                self.push_all(upper_bound);
                self.only_if(stride.is_none());
            }
        }
    }

    fn function(&mut self, function: &'a Function) {
        let Function {
            name,
            uses_odbc_syntax,
            parameters,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = function;
        self.function_name(name);
        self.only_if(!uses_odbc_syntax && matches!(parameters, FunctionArguments::None));
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => self.push_query(query),
            FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: _,
                args,
                clauses,
            }) => {
                self.arguments(args);
                clauses.iter().for_each(|clause| self.clause(clause));
            }
        }
        self.order_by(within_group);
        self.push_all(filter.as_deref());
        match over {
            None | Some(WindowType::NamedWindow(_)) => {}
            Some(WindowType::WindowSpec(spec)) => self.window(spec),
        }
    }

    fn clause(&mut self, clause: &'a FunctionArgumentClause) {
        match clause {
            FunctionArgumentClause::OrderBy(exprs) => self.order_by(exprs),
            FunctionArgumentClause::IgnoreOrRespectNulls(_)
            | FunctionArgumentClause::JsonNullClause(_) => {}
            FunctionArgumentClause::Where(_)
            | FunctionArgumentClause::Limit(_)
            | FunctionArgumentClause::OnOverflow(_)
            | FunctionArgumentClause::Having(_)
            | FunctionArgumentClause::Separator(_)
            | FunctionArgumentClause::JsonReturningClause(_) => {
                self.found(Finding::NotUnderstood);
            }
        }
    }

    /// Looks at a call's arguments.
    pub(super) fn arguments(&mut self, args: &'a [FunctionArg]) {
        for arg in args {
            let value = match arg {
                FunctionArg::Named {
                    name: _,
                    arg,
                    operator: _,
                }
                | FunctionArg::Unnamed(arg) => arg,
                FunctionArg::ExprNamed {
                    name,
                    arg,
                    operator: _,
                } => {
                    self.push(name);
                    arg
                }
            };
            match value {
                FunctionArgExpr::Expr(expr) => self.push(expr),
                FunctionArgExpr::QualifiedWildcard(_) | FunctionArgExpr::Wildcard => {}
                FunctionArgExpr::WildcardWithOptions(options) => self.wildcard(options),
            }
        }
    }

    /// Judges a call by its name.
    pub(super) fn function_name(&mut self, name: &ObjectName) {
        let safety = match builtin(name) {
            Some(word) if word.quote_style.is_none() && self.is_call_word(word) => Safety::Safe,
            Some(name) => self.knowledge.function(name.value.as_bytes()),
            None => match name.0.as_slice() {
                [
                    ObjectNamePart::Identifier(schema),
                    ObjectNamePart::Identifier(name),
                ] => {
                    let (schema, name) = (schema.value.as_bytes(), name.value.as_bytes());
                    self.knowledge.qualified_function(schema, name)
                }
                _ => Safety::Unknown,
            },
        };
        self.found(match safety {
            Safety::Safe => Finding::Safe,
            Safety::ServerState => Finding::ServerState,
            Safety::SessionState => Finding::SessionState,
            Safety::Unknown => Finding::UnknownFunction,
            Safety::Writes => Finding::WriteFunction,
        });
    }

    fn is_call_word(&self, word: &Ident) -> bool {
        self.knowledge.knows_call_word(word.value.as_bytes())
    }

    /// Looks at a window's definition.
    pub(super) fn window(&mut self, spec: &'a WindowSpec) {
        let WindowSpec {
            window_name: _,
            partition_by,
            order_by,
            window_frame,
        } = spec;
        self.push_all(partition_by);
        self.order_by(order_by);
        let Some(WindowFrame {
            units: _,
            start_bound,
            end_bound,
        }) = window_frame
        else {
            return;
        };
        for bound in std::iter::once(start_bound).chain(end_bound) {
            match bound {
                WindowFrameBound::CurrentRow => {}
                WindowFrameBound::Preceding(expr) | WindowFrameBound::Following(expr) => {
                    self.push_all(expr.as_deref());
                }
            }
        }
    }

    /// Judges a type: casting to a type that is not built in may run anybody's code.
    pub(super) fn data_type(&mut self, data_type: &DataType) {
        let mut data_type = data_type;
        while let DataType::Array(element) = data_type {
            match element {
                ArrayElemTypeDef::SquareBracket(inner, _)
                | ArrayElemTypeDef::Qualified(inner, _) => data_type = &**inner,
                ArrayElemTypeDef::None
                | ArrayElemTypeDef::AngleBracket(_)
                | ArrayElemTypeDef::Parenthesis(_) => return self.found(Finding::NotUnderstood),
            }
        }
        if !self.is_builtin_type(data_type) {
            self.found(Finding::UnknownType);
        }
    }

    fn is_builtin_type(&self, data_type: &DataType) -> bool {
        if let DataType::Custom(name, _) = data_type {
            return match (builtin(name), name.0.as_slice()) {
                (Some(name), _) => self.knowledge.knows_type(name.value.as_bytes()),
                (
                    None,
                    [
                        ObjectNamePart::Identifier(_),
                        ObjectNamePart::Identifier(name),
                    ],
                ) => self.knowledge.knows_users_type(name.value.as_bytes()),
                (None, _) => false,
            };
        }
        matches!(
            data_type,
            DataType::Character(_)
                | DataType::Char(_)
                | DataType::CharacterVarying(_)
                | DataType::CharVarying(_)
                | DataType::Varchar(_)
                | DataType::Uuid
                | DataType::Numeric(_)
                | DataType::Decimal(_)
                | DataType::Dec(_)
                | DataType::Float(_)
                | DataType::Int2(_)
                | DataType::SmallInt(_)
                | DataType::Int(_)
                | DataType::Int4(_)
                | DataType::Int8(_)
                | DataType::Integer(_)
                | DataType::BigInt(_)
                | DataType::Float4
                | DataType::Float8
                | DataType::Real
                | DataType::DoublePrecision
                | DataType::Bool
                | DataType::Boolean
                | DataType::Date
                | DataType::Time(..)
                | DataType::Timestamp(..)
                | DataType::Interval { .. }
                | DataType::JSON
                | DataType::JSONB
                | DataType::Regclass
                | DataType::Text
                | DataType::Bytea
                | DataType::Bit(_)
                | DataType::BitVarying(_)
                | DataType::VarBit(_)
                | DataType::GeometricType(_)
                | DataType::TsVector
                | DataType::TsQuery
        )
    }
}

/// The name of an object that is unqualified or in `pg_catalog`. Names come in lower case unless
/// they were quoted.
fn builtin(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name),
        [
            ObjectNamePart::Identifier(schema),
            ObjectNamePart::Identifier(name),
        ] if schema.value == "pg_catalog" => Some(name),
        _ => None,
    }
}
