// What a dashboard of ours may be, by Grafana's own types. JSON has texts where those have enumerations.
import type * as grafana from "@grafana/schema";
import type * as heatmap from "./node_modules/@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen";
import type * as stat from "./node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen";
import type * as states from "./node_modules/@grafana/schema/dist/types/raw/composable/statetimeline/panelcfg/x/types.gen";
import type * as table from "./node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen";
import type * as lines from "./node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen";

type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;

// The types of Prometheus' queries are in no package of their own.
type Query = {
  refId: string;
  datasource: grafana.DataSourceRef;
  expr: string;
  legendFormat: string;
  instant?: boolean;
  range?: boolean;
  format?: "time_series" | "table" | "heatmap";
};

type Link = { title: string; url: string; targetBlank?: boolean };

type Field<Custom> = Plain<Omit<grafana.FieldConfig, "custom">> & { custom?: Plain<Custom> };

type Visual<Kind extends string, Options, Custom> = Plain<Omit<grafana.Panel, "type" | "options" | "fieldConfig" | "targets" | "links">> & {
  type: Kind;
  description: string;
  targets: Query[];
  links?: Link[];
  // Nothing of what has a default needs to be there.
  options: Plain<Partial<Options>>;
  fieldConfig: { defaults: Field<Custom>; overrides: Plain<grafana.FieldConfigSource["overrides"]> };
};

type Panel =
  | Visual<"stat", stat.Options, never>
  | Visual<"timeseries", lines.Options, lines.FieldConfig>
  | Visual<"heatmap", heatmap.Options, heatmap.FieldConfig>
  | Visual<"state-timeline", states.Options, states.FieldConfig>
  | Visual<"table", table.Options, table.FieldConfig>
  | Plain<grafana.RowPanel>;

type Pages = Plain<grafana.AnnotationQuery> & { expr: string; titleFormat: string; textFormat: string };

export type Board = Plain<Omit<grafana.Dashboard, "panels" | "annotations">> & { panels: Panel[]; annotations: { list: Pages[] } };
