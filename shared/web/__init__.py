"""The one look of reports and pages, and what every page needs: headers, log-ins, forms, live parts."""
