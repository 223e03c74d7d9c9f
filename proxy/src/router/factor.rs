//! The part of the walk that looks at what stands in FROM: relations, functions, joins in brackets, samples
//! and aliases.
//!
//! The same rules as in `walk`: an allow-list, and what is not known counts as not understood.

use sqlparser::ast::{
    ObjectName, ObjectNamePart, TableAlias, TableFactor, TableFunctionArgs, TableSample,
    TableSampleKind, TableSampleMethod, XmlTableColumn, XmlTableColumnOption,
};

use super::finding::Finding;
use super::tables::Tables;
use super::walk::Walk;
use super::written;

impl<'a> Walk<'a> {
    pub(super) fn factor(&mut self, factor: &'a TableFactor) {
        match factor {
            TableFactor::Table { .. } => self.table(factor),
            TableFactor::Derived {
                lateral: _,
                subquery,
                alias,
                sample,
            } => {
                self.push_query(subquery);
                self.alias(alias.as_ref());
                self.sample(sample.as_ref());
            }
            TableFactor::Function {
                lateral: _,
                name,
                args,
                with_ordinality: _,
                alias,
            } => {
                self.function_name(name);
                self.arguments(args);
                self.alias(alias.as_ref());
            }
            TableFactor::UNNEST {
                alias,
                array_exprs,
                with_offset,
                with_offset_alias,
                with_ordinality: _,
            } => {
                self.push_all(array_exprs);
                self.alias(alias.as_ref());
                self.only_if(!with_offset && with_offset_alias.is_none());
            }
            TableFactor::NestedJoin {
                table_with_joins,
                alias,
            } => {
                self.joins(table_with_joins);
                self.alias(alias.as_ref());
            }
            TableFactor::XmlTable {
                namespaces,
                row_expression,
                passing,
                columns,
                alias,
            } => {
                self.push_all(namespaces.iter().map(|namespace| &namespace.uri));
                self.push(row_expression);
                self.push_all(passing.arguments.iter().map(|argument| &argument.expr));
                columns.iter().for_each(|column| self.xml_column(column));
                self.alias(alias.as_ref());
            }
            TableFactor::TableFunction { .. }
            | TableFactor::JsonTable { .. }
            | TableFactor::OpenJsonTable { .. }
            | TableFactor::Pivot { .. }
            | TableFactor::Unpivot { .. }
            | TableFactor::UnpivotExpr { .. }
            | TableFactor::MatchRecognize { .. }
            | TableFactor::SemanticView { .. } => self.found(Finding::NotUnderstood),
        }
    }

    fn table(&mut self, factor: &'a TableFactor) {
        let TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            version,
            with_ordinality: _,
            partitions,
            json_path,
            sample,
            index_hints,
        } = factor
        else {
            return self.found(Finding::NotUnderstood);
        };
        self.relation(name, args.as_ref());
        self.alias(alias.as_ref());
        self.sample(sample.as_ref());
        self.only_if(with_hints.is_empty() && version.is_none() && partitions.is_empty());
        self.only_if(json_path.is_none() && index_hints.is_empty());
    }

    fn xml_column(&mut self, column: &'a XmlTableColumn) {
        match &column.option {
            XmlTableColumnOption::ForOrdinality => {}
            XmlTableColumnOption::NamedInfo {
                r#type,
                path,
                default,
                nullable: _,
            } => {
                self.data_type(r#type);
                self.push_all(path);
                self.push_all(default);
            }
        }
    }

    /// A function in FROM if it has arguments; else a relation, or the name of a WITH query.
    fn relation(&mut self, name: &ObjectName, args: Option<&'a TableFunctionArgs>) {
        if let Some(TableFunctionArgs { args, settings }) = args {
            self.function_name(name);
            self.only_if(settings.is_none());
            self.arguments(args);
            return;
        }
        let read = match name.0.last() {
            Some(ObjectNamePart::Identifier(name)) => {
                written::table(self.knowledge, name.value.as_bytes())
            }
            Some(ObjectNamePart::Function(_)) | None => Tables::ALL,
        };
        self.tables = self.tables.and(read);
    }

    fn sample(&mut self, sample: Option<&'a TableSampleKind>) {
        let sample = match sample {
            None => return,
            Some(
                TableSampleKind::BeforeTableAlias(sample)
                | TableSampleKind::AfterTableAlias(sample),
            ) => &**sample,
        };
        let TableSample {
            modifier: _,
            name,
            quantity,
            seed: _,
            bucket,
            offset,
        } = sample;
        self.only_if(matches!(
            name,
            Some(TableSampleMethod::Bernoulli | TableSampleMethod::System)
        ));
        self.only_if(bucket.is_none() && offset.is_none());
        self.push_all(quantity.as_ref().map(|quantity| &quantity.value));
    }

    pub(super) fn alias(&mut self, alias: Option<&'a TableAlias>) {
        let Some(TableAlias {
            explicit: _,
            name,
            columns,
            at,
        }) = alias
        else {
            return;
        };
        self.only_if(at.is_none());
        if !columns.is_empty() {
            self.aliases.push(name);
        }
        columns
            .iter()
            .filter_map(|column| column.data_type.as_ref())
            .for_each(|data_type| {
                self.data_type(data_type);
            });
    }
}
