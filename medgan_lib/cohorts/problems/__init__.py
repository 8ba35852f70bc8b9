"""Problems made of cohorts: pairs and domains, few labels, reports."""
