//! Walks a parsed query and reports the least safe thing in it.
//!
//! An allow-list: every node of the tree is taken apart field by field, so that what is not
//! known here (another dialect's clause, or one a newer sqlparser adds) counts as not understood
//! or doesn't compile. Keeps its own stack, for trees of long chains are deep. Must not know
//! text, tokens or sessions.

use sqlparser::ast::{
    Cte, Distinct, Fetch, GroupByExpr, GroupByWithModifier, Join, JoinConstraint, JoinOperator,
    LimitClause, NamedWindowExpr, Offset, OrderBy, OrderByExpr, OrderByKind, Query, Select,
    SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    TableWithJoins, WildcardAdditionalOptions, With,
};
use sqlparser::ast::{Expr, Ident};

use super::finding::Finding;
use super::knowledge::Knowledge;
use super::tables::Tables;

/// A part of the tree that is still to be looked at.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Query(&'a Query),
    Set(&'a SetExpr),
    Factor(&'a TableFactor),
    Expr(&'a Expr),
}

/// A walk in progress.
pub(super) struct Walk<'a> {
    pub(super) knowledge: &'a Knowledge<'a>,
    stack: Vec<Node<'a>>,
    found: Finding,
    /// Names that are followed by a list of columns, which looks like a call.
    pub(super) aliases: Vec<&'a Ident>,
    /// The tables that it reads.
    pub(super) tables: Tables,
}

/// Walks all of `query`; gives the worst finding, the aliases that have a list of columns, and the tables.
pub(super) fn walk<'a>(
    query: &'a Query,
    knowledge: &'a Knowledge<'a>,
) -> (Finding, Vec<&'a Ident>, Tables) {
    let mut walk = Walk {
        knowledge,
        stack: vec![Node::Query(query)],
        found: Finding::Safe,
        aliases: Vec::new(),
        tables: Tables::NONE,
    };
    while let Some(node) = walk.stack.pop() {
        match node {
            Node::Query(query) => walk.query(query),
            Node::Set(set) => walk.set(set),
            Node::Factor(factor) => walk.factor(factor),
            Node::Expr(expr) => walk.expr(expr),
        }
    }
    (walk.found, walk.aliases, walk.tables)
}

impl<'a> Walk<'a> {
    /// Notes a finding.
    pub(super) fn found(&mut self, finding: Finding) {
        self.found = self.found.max(finding);
    }

    /// Notes what is not understood, unless it is absent.
    pub(super) fn only_if(&mut self, understood: bool) {
        if !understood {
            self.found(Finding::NotUnderstood);
        }
    }

    pub(super) fn push_query(&mut self, query: &'a Query) {
        self.stack.push(Node::Query(query));
    }

    pub(super) fn push(&mut self, expr: &'a Expr) {
        self.stack.push(Node::Expr(expr));
    }

    pub(super) fn push_all(&mut self, exprs: impl IntoIterator<Item = &'a Expr>) {
        self.stack.extend(exprs.into_iter().map(Node::Expr));
    }

    fn query(&mut self, query: &'a Query) {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if let Some(With {
            with_token: _,
            recursive: _,
            cte_tables,
        }) = with
        {
            cte_tables.iter().for_each(|cte| self.cte(cte));
        }
        self.stack.push(Node::Set(body));
        if let Some(OrderBy { kind, interpolate }) = order_by {
            self.only_if(interpolate.is_none());
            match kind {
                OrderByKind::All(_) => self.found(Finding::NotUnderstood),
                OrderByKind::Expressions(exprs) => self.order_by(exprs),
            }
        }
        match limit_clause {
            None => {}
            Some(LimitClause::LimitOffset {
                limit,
                offset,
                limit_by,
            }) => {
                self.push_all(limit);
                if let Some(Offset { value, rows: _ }) = offset {
                    self.push(value);
                }
                self.only_if(limit_by.is_empty());
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => self.found(Finding::NotUnderstood),
        }
        if let Some(Fetch {
            with_ties: _,
            percent,
            quantity,
        }) = fetch
        {
            self.only_if(!percent);
            self.push_all(quantity);
        }
        if !locks.is_empty() {
            self.found(Finding::Lock);
        }
        self.only_if(for_clause.is_none() && settings.is_none());
        self.only_if(format_clause.is_none() && pipe_operators.is_empty());
    }

    fn cte(&mut self, cte: &'a Cte) {
        let Cte {
            alias,
            query,
            from,
            materialized: _,
            closing_paren_token: _,
        } = cte;
        self.only_if(from.is_none());
        self.alias(Some(alias));
        self.push_query(query);
    }

    fn set(&mut self, set: &'a SetExpr) {
        match set {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.push_query(query),
            SetExpr::SetOperation {
                left,
                op: _,
                set_quantifier: _,
                right,
            } => {
                self.stack.push(Node::Set(left));
                self.stack.push(Node::Set(right));
            }
            SetExpr::Values(values) => {
                values
                    .rows
                    .iter()
                    .for_each(|row| self.push_all(&row.content));
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.found(Finding::Write);
            }
            SetExpr::Table(_) => self.found(Finding::NotUnderstood),
        }
    }

    fn select(&mut self, select: &'a Select) {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        if into.is_some() {
            self.found(Finding::Write);
        }
        self.only_if(optimizer_hints.is_empty() && select_modifiers.is_none() && top.is_none());
        self.only_if(exclude.is_none() && lateral_views.is_empty() && prewhere.is_none());
        self.only_if(connect_by.is_empty() && cluster_by.is_empty() && distribute_by.is_empty());
        self.only_if(sort_by.is_empty() && qualify.is_none() && value_table_mode.is_none());
        self.only_if(*flavor == SelectFlavor::Standard);
        match distinct {
            None | Some(Distinct::All | Distinct::Distinct) => {}
            Some(Distinct::On(exprs)) => self.push_all(exprs),
        }
        projection.iter().for_each(|item| self.item(item));
        from.iter().for_each(|table| self.joins(table));
        self.push_all(selection);
        self.group_by(group_by);
        self.push_all(having);
        for window in named_window {
            match &window.1 {
                NamedWindowExpr::NamedWindow(_) => {}
                NamedWindowExpr::WindowSpec(spec) => self.window(spec),
            }
        }
    }

    fn item(&mut self, item: &'a SelectItem) {
        match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, alias: _ } => {
                self.push(expr);
            }
            SelectItem::ExprWithAliases { .. } => self.found(Finding::NotUnderstood),
            SelectItem::QualifiedWildcard(kind, options) => {
                match kind {
                    SelectItemQualifiedWildcardKind::ObjectName(_) => {}
                    SelectItemQualifiedWildcardKind::Expr(expr) => self.push(expr),
                }
                self.wildcard(options);
            }
            SelectItem::Wildcard(options) => self.wildcard(options),
        }
    }

    pub(super) fn wildcard(&mut self, options: &WildcardAdditionalOptions) {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        self.only_if(opt_ilike.is_none() && opt_exclude.is_none() && opt_except.is_none());
        self.only_if(opt_replace.is_none() && opt_rename.is_none() && opt_alias.is_none());
    }

    fn group_by(&mut self, group_by: &'a GroupByExpr) {
        let modifiers = match group_by {
            GroupByExpr::All(modifiers) => modifiers,
            GroupByExpr::Expressions(exprs, modifiers) => {
                self.push_all(exprs);
                modifiers
            }
        };
        for modifier in modifiers {
            match modifier {
                GroupByWithModifier::GroupingSets(expr) => self.push(expr),
                GroupByWithModifier::Rollup
                | GroupByWithModifier::Cube
                | GroupByWithModifier::Totals => self.found(Finding::NotUnderstood),
            }
        }
    }

    pub(super) fn order_by(&mut self, exprs: &'a [OrderByExpr]) {
        for OrderByExpr {
            expr,
            options: _,
            with_fill,
        } in exprs
        {
            self.push(expr);
            self.only_if(with_fill.is_none());
        }
    }

    pub(super) fn joins(&mut self, table: &'a TableWithJoins) {
        let TableWithJoins { relation, joins } = table;
        self.stack.push(Node::Factor(relation));
        for Join {
            relation,
            global,
            join_operator,
        } in joins
        {
            self.stack.push(Node::Factor(relation));
            self.only_if(!global);
            match join_operator {
                JoinOperator::Join(on)
                | JoinOperator::Inner(on)
                | JoinOperator::Left(on)
                | JoinOperator::LeftOuter(on)
                | JoinOperator::Right(on)
                | JoinOperator::RightOuter(on)
                | JoinOperator::FullOuter(on)
                | JoinOperator::CrossJoin(on) => match on {
                    JoinConstraint::On(expr) => self.push(expr),
                    JoinConstraint::Using(_) | JoinConstraint::Natural | JoinConstraint::None => {}
                },
                JoinOperator::Semi(_)
                | JoinOperator::LeftSemi(_)
                | JoinOperator::RightSemi(_)
                | JoinOperator::Anti(_)
                | JoinOperator::LeftAnti(_)
                | JoinOperator::RightAnti(_)
                | JoinOperator::CrossApply
                | JoinOperator::OuterApply
                | JoinOperator::AsOf { .. }
                | JoinOperator::StraightJoin(_)
                | JoinOperator::ArrayJoin
                | JoinOperator::LeftArrayJoin
                | JoinOperator::InnerArrayJoin => self.found(Finding::NotUnderstood),
            }
        }
    }
}
